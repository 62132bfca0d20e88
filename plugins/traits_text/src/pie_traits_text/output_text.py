"""Trait `output_text`: an Embed becomes a next-token distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from pie_core import (
    U32,
    ArgumentError,
    Command,
    Embed,
    F32Array,
    HandleError,
    ModelInfo,
    Reads,
    Trait,
    U32Array,
    hookimpl,
)


class Dist(msgspec.Struct, frozen=True):
    """A next-token distribution: the `top_k` most probable tokens and what is left.

    Sorted by falling probability; among equal ones the lower id first. Probabilities are of the whole vocabulary's
    softmax, so that `sum(probs) + rest` is 1 up to rounding.
    """

    ids: U32Array
    probs: F32Array
    rest: float  # probability mass of the tokens left out


class GetNextDist(Command):
    """The next-token distribution at an Embed that `forward` wrote.

    `top_k` bounds how many tokens it lists; None gives the whole vocabulary.

    ArgumentError: more or fewer than one Embed, `top_k` of 0.
    HandleError: an Embed that was never written or is not this inferlet's.
    """

    returns = Dist
    emb: Reads[Embed]
    top_k: U32 | None = 256

    def prepare(self, model: ModelInfo) -> None:
        if len(self.emb) != 1:
            raise ArgumentError(f"get_next_dist: one Embed is wanted, got {len(self.emb)}")
        if self.emb[0].position is None:
            raise HandleError("get_next_dist: the Embed was never written; run forward with it in `oemb` first")
        if self.top_k == 0:
            raise ArgumentError("get_next_dist: top_k is 0; name at least 1, or None for the whole vocabulary")


@runtime_checkable
class RestrictsDists(Protocol):
    """What a handler of this trait may offer besides, for traits that are built on this one. Device thread."""

    def get_restricted_dists(self, batch: Sequence[GetNextDist], allowed: Sequence[bytes]) -> list[Dist]:
        """The distributions of a batch among some of the tokens: the model's, renormalized over those.

        allowed: for each command a bit for every token, the lowest bit of the first byte for token 0; at least one bit
        is set. `top_k` and `rest` count among the allowed tokens; if those are fewer than `top_k`, all are listed.
        """
        ...


@runtime_checkable
class TellsBest(Protocol):
    """What such a handler may offer besides: tokens without probabilities, which cost a softmax. Device thread."""

    def get_best(self, batch: Sequence[GetNextDist]) -> list[int]:
        """The most probable token at each Embed, of equal ones the lowest: the first that `get_next_dist` lists."""
        ...


OUTPUT_TEXT = Trait(
    name="output_text",
    version="1.0.0",
    doc="Distributions out: hidden states become next-token probabilities.",
    calls=(GetNextDist,),
    requires=("allocate>=1,<2",),
)


@hookimpl
def pie_trait() -> Trait:
    return OUTPUT_TEXT
