"""Trait `decode_guided`: `decode` within a grammar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from pie_traits_decode.guiding import Guide
from pie_traits_decode.steps import Decode
from pie_traits_grammar.matcher import Matcher, Version, one_started

from pie_core import U32, UNFINISHED, ModelInfo, Planned, Trait, Writes, hookimpl

PATIENCE_S = 1e-3  # for what may follow the last token


class Guided(msgspec.Struct, frozen=True):
    """What was drawn, and where the matcher is behind it: see `MatcherState`."""

    tokens: list[U32]
    accepting: bool
    ended: bool
    forced: bytes


@dataclass(frozen=True)
class Following:
    """A `Guide`: a place in a grammar (`pie_traits_grammar.matching`), and how much forced text ends the decode."""

    place: Any
    pause: int

    @property
    def ended(self) -> bool:
        """See `Guide`. Asked before `allowed`: what must follow cannot be, while it is found out what may."""
        return self.place.ended or 0 < self.pause <= len(self.place.forced)

    def allowed(self, patience_s: float) -> bytes | None:
        """See `Guide`."""
        mask: bytes | None = self.place.allowed(patience_s)
        return mask

    def take(self, token: int) -> None:
        """See `Guide`."""
        self.place.take(token)


class DecodeGuided(Decode, kw_only=True):
    """`decode`, drawing among the tokens that a grammar allows.

    matcher: one with a grammar. Each token is drawn from the model's distribution over all the tokens that it allows
        (`get_next_dist_masked`) and taken by it, the last one, too; so `first` was taken by the decode before. Where
        nothing but the end token may follow, the decode ends; drawing an end token ends it as well, and is the last
        token of the result.
    pause: it ends, too, where the text that must follow whatever is chosen has so many bytes, for its tokens can be run
        in one pass. 0: nowhere.

    The others are those of `decode`; biases and penalties change what the grammar has left.

    Until the result is there the matcher is nowhere, and cannot be named; so await it. Then `rollback` takes back what
    is not wanted. After an error where the result is awaited the matcher can only be freed.

    ArgumentError: as for `decode`; more or fewer than one matcher; where it is awaited: a grammar without a sentence
        that goes on here.
    HandleError: as for `decode`; a matcher without a grammar, or one that another decode still follows.
    ResourceError: where it is awaited: a grammar over the limits.
    """

    batches_with = Decode
    returns = Guided
    matcher: Writes[Matcher]
    pause: U32 = 0
    taken: Planned[int] = 0  # tokens that the matcher has taken before
    version: Planned[Version | None] = None

    @property
    def guide(self) -> Guide:
        """See `Decode.guide`."""
        return Following(self.matcher[0].cell.state, self.pause)

    def prepare(self, model: ModelInfo) -> None:
        matcher, taken = one_started(self.matcher, "decode_guided")
        super().prepare(model)
        self.taken, matcher.length = taken, None
        self.version = matcher.version = Version()

    def answer(self, tokens: list[int]) -> Any:
        """See `Decode.answer`. What may follow is found out first: whoever enqueues more behind it counts on that."""
        place = self.matcher[0].cell.state
        allowed = place.allowed(PATIENCE_S)
        if allowed is None:
            return UNFINISHED
        assert self.version is not None
        self.version.allowed = allowed
        return Guided(tokens, place.accepting, place.ended, place.forced)

    def conclude(self, result: Any) -> None:
        """See `Command.conclude`."""
        super().conclude(None if result is None else result.tokens)
        if result is not None:
            self.matcher[0].length = self.taken + len(result.tokens)


DECODE_GUIDED = Trait(
    name="decode_guided",
    version="1.0.0",
    doc="Many tokens drawn on the server, each among those that a grammar allows.",
    calls=(DecodeGuided,),
    requires=("decode>=1,<2", "grammar>=1,<2"),
)


@hookimpl
def pie_trait() -> Trait:
    return DECODE_GUIDED
