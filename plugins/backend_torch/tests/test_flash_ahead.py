"""Steps of `decode` that run ahead of the host over FlashInfer's attention, which is what a GPU with FlashInfer does.

The library is not here: `by_definition` computes what was planned for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest
import torch
from pie_backend_torch.ahead.steps import StepsAhead
from pie_backend_torch.backend import TorchBackend
from pie_backend_torch.course import Course
from pie_backend_torch.flash.attention import FlashInferAttention
from pie_backend_torch.handlers.forward import ForwardHandler
from pie_backend_torch.kernels import Recipe
from pie_backend_torch.load import load_backend
from pie_backend_torch.options import TorchOptions
from pie_backend_torch.torch_kernels import TorchKernels
from pie_traits_decode.testing import DecodeSuite

from pie_core import HandlerSpec
from pie_core.model import ModelSpec
from pie_core.plugins import Selection
from pie_core.registry import load_handlers

from .by_definition import ByDefinition
from .conftest import write_checkpoint


class Counted(StepsAhead):
    """With the calls of each step."""

    def __init__(self, backend: TorchBackend) -> None:
        super().__init__(backend)
        self.taken: list[int] = []

    def step(self, courses: Sequence[Course]) -> None:
        self.taken.append(len(courses))
        super().step(courses)


class Ahead(ForwardHandler):
    """As on a GPU."""

    def open_steps(self) -> Counted:
        self._steps = self.counted = Counted(self._backend)
        return self.counted


@pytest.fixture(scope="module", autouse=True)
def _in_float32() -> Iterator[None]:
    """Which the library does not take and its definition does; drawn tokens do not hang on how a batch rounds then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pie_backend_torch.flash.covers.DTYPES", (torch.float32,))
        yield


class TestAheadOverFlashInfer(DecodeSuite):
    backend_name = "torch"
    _handler: ClassVar[Ahead]  # of the model of the class

    def make(self) -> Any:
        ours = Recipe("torch", lambda *_: TorchKernels(FlashInferAttention(ByDefinition())), generic=True)
        options = TorchOptions(pages=128, embeds=1024, device="cpu", dtype="float32", threads=1)
        shape = {"head_dim": 64, "vocab_size": 300, "max_position_embeddings": 1024}
        with TemporaryDirectory() as directory:
            path = write_checkpoint(Path(directory) / "model", "llama", **shape)
            return load_backend(ModelSpec("llama", path), options, lambda stage, share: None, ours)

    def handlers(self) -> Sequence[HandlerSpec]:
        found = load_handlers("torch", "pie-backend-torch", Selection())
        return [dataclasses.replace(one, build=self._build) if one.trait_name == "forward" else one for one in found]

    def _build(self, backend: TorchBackend) -> Ahead:
        made = type(self)._handler = Ahead(backend)
        return made

    def test_two_decodes_take_their_steps_together_in_one_launch_without_a_mask(self) -> None:
        for _ in range(2):
            p, (emb, _) = self.after_a_prompt(room=9)
            p.call("decode", self.pages, [emb], self.pages, [emb], 9)
        self.rig.loop.run()
        assert self._handler.counted.taken.count(2) >= 8
        engine = self.subject.backend.decoder.kernels.attention.engine
        assert [(int(tables.queries[-1]), tables.causal) for tables in engine.planned] == [(2, True)]
