"""The handler for any backend, over hashes and over torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pie_backend_torch.options import TorchOptions
from pie_backend_torch.plugin import load
from pie_traits_guided.testing import GuidedSuite

from pie_core import HandlerSpec
from pie_core.controller import find_model
from pie_core.plugins import Selection
from pie_core.registry import load_handlers
from pie_core.testing import FakeBackend, fake_handlers


class TestOverHashes(GuidedSuite):
    def make(self) -> FakeBackend:
        return FakeBackend(pages=128, embeds=1024, page_size=8)

    def handlers(self) -> Sequence[HandlerSpec]:
        return [*fake_handlers(), *load_handlers("fake", "", Selection())]


class TestOverTorch(GuidedSuite):
    backend_name = "torch"

    def make(self) -> Any:
        options = TorchOptions(pages=128, embeds=1024, dtype="float32", threads=1)
        return load(find_model("pico", Selection()), options, lambda stage, share: None)
