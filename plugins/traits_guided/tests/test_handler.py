"""A handler of `decode` that asks no guides would draw what no grammar allows: the trait is not there then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pie_traits_decode.handler import DecodeHandler

from pie_core import Foundation, HandlerSpec
from pie_core.plugins import Selection
from pie_core.registry import load_handlers, load_registry, realize
from pie_core.testing import FakeBackend, fake_handlers


class Deaf:
    """Draws by itself."""

    def __init__(self, ground: Foundation) -> None:
        handler = DecodeHandler(ground)
        self.sample, self.decode = handler.sample, handler.decode
        self.drawn, self.end_decode = handler.drawn, handler.end_decode

    def ride_decode(self, batch: Sequence[Any], beside: int) -> list[Any]:
        return [None] * len(batch)

    def rode_decode(self, batch: Sequence[Any]) -> None:
        raise AssertionError


def test_without_a_handler_that_asks_guides_the_trait_is_not_there_and_the_reason_is() -> None:
    backend = FakeBackend()
    specs = [spec for spec in load_handlers("fake", "", Selection()) if spec.trait_name != "decode"]
    specs += [*fake_handlers(), HandlerSpec("decode>=1,<2", "any", Deaf)]
    found = realize(load_registry(Selection()), specs, "fake", backend)
    found.close()
    assert "decode" in found.traits and "decode_guided" not in found.traits
    assert "Deaf, follows no guides" in found.reasons["decode_guided"]
