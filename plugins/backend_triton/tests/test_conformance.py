"""The backend under the conformance suites of the calls whose kernels it replaces. On a GPU: PIE_TEST_DEVICE=cuda.

Under the interpreter they pass too, but take minutes.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from pie_backend_torch.options import TorchOptions
from pie_backend_triton.plugin import load
from pie_traits_text.testing import ForwardSuite, OutputTextSuite

from pie_core.model import ModelSpec

from .checkpoints import write_checkpoint
from .conftest import DEVICE

pytestmark = pytest.mark.skipif(DEVICE.type == "cpu", reason="needs a GPU: set PIE_TEST_DEVICE=cuda")


class Triton:
    """What is loaded."""

    backend_name = "triton"
    batch_tolerance = 1e-4  # tiles and kernels are chosen by what is in the batch

    def make(self) -> Any:
        with TemporaryDirectory() as directory:
            path = write_checkpoint(Path(directory) / "llama", "llama", num_hidden_layers=1)
            options = TorchOptions(pages=128, embeds=1024, page_size=8, device=str(DEVICE), dtype="float32")
            return load(ModelSpec("llama", path), options, lambda stage, share: None)


class TestForward(Triton, ForwardSuite):
    pass


class TestOutputText(Triton, OutputTextSuite):
    pass
