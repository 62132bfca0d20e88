"""Steps that are launched before the host has seen the tokens of the step before: everything is as without."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from inferlet.draws import draw as drawn
from pie_backend_torch.ahead.drawing import uniform
from pie_backend_torch.ahead.steps import StepsAhead
from pie_backend_torch.handlers.forward import ForwardHandler
from pie_backend_torch.options import TorchOptions
from pie_backend_torch.plugin import load
from pie_traits_decode.testing import DecodeSuite

from pie_core import HandlerSpec
from pie_core.controller import find_model
from pie_core.plugins import Selection
from pie_core.registry import load_handlers


class Ahead(ForwardHandler):
    """As on a GPU."""

    def open_steps(self) -> StepsAhead:
        return StepsAhead(self._backend)


class TestAhead(DecodeSuite):
    backend_name = "torch"

    def make(self) -> Any:
        options = TorchOptions(pages=128, embeds=1024, dtype="float32", threads=1)
        return load(find_model("pico", Selection()), options, lambda stage, share: None)

    def handlers(self) -> Sequence[HandlerSpec]:
        found = load_handlers("torch", "pie-backend-torch", Selection())
        return [dataclasses.replace(one, build=Ahead) if one.trait_name == "forward" else one for one in found]


def test_random_numbers_are_those_of_the_sdk() -> None:
    pairs = [(seed, number) for seed in (0, 1, 7, 1 << 63, (1 << 64) - 1) for number in (0, 1, 1000, (1 << 64) - 2)]
    signed = torch.tensor([[word - (1 << 64) if word >> 63 else word for word in pair] for pair in pairs])
    assert uniform(signed[:, 0], signed[:, 1]).tolist() == [drawn(seed, number) for seed, number in pairs]
