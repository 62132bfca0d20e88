"""The suite where steps are captured in CUDA graphs. With PIE_TEST_DEVICE=cuda."""

from __future__ import annotations

import os
from typing import Any

import pytest
from pie_backend_torch.options import TorchOptions
from pie_traits_decode.testing import DecodeSuite

from pie_core.controller import find_model
from pie_core.plugins import Selection

pytestmark = pytest.mark.skipif(os.environ.get("PIE_TEST_DEVICE") != "cuda", reason="set PIE_TEST_DEVICE=cuda")


class OnGpu(DecodeSuite):
    def make(self) -> Any:
        options = TorchOptions(pages=128, embeds=1024, dtype="float32", device="cuda")
        plugin = pytest.importorskip(f"pie_backend_{self.backend_name}.plugin")
        return plugin.load(find_model("pico", Selection()), options, lambda stage, share: None)


class TestTorch(OnGpu):
    backend_name = "torch"


class TestTriton(OnGpu):
    backend_name = "triton"
