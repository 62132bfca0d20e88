"""Trait `decode`: the server draws tokens, one or many, ahead of the program."""

from __future__ import annotations

from pie_core import Trait, hookimpl
from pie_traits_decode.sample import Sample
from pie_traits_decode.steps import Decode
from pie_traits_decode.watching import Drawn, EndDecode

DECODE = Trait(
    name="decode",
    version="1.1.0",
    doc="Tokens drawn on the server: one that may be run before the program knows it, or many, one after the other.",
    calls=(Sample, Decode, Drawn, EndDecode),
    requires=("forward>=1,<2", "input_text>=1,<2", "output_text>=1,<2", "tokenize>=1,<2"),
)


@hookimpl
def pie_trait() -> Trait:
    return DECODE
