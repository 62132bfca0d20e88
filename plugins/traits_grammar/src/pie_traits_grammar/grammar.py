"""Trait `grammar`: a matcher follows what is generated, and the distribution is restricted to what may come next.

Everything about a grammar happens on the host: a program passes text and tokens, and gets distributions in which only
allowed tokens are left. Compiling and following are commands of the host, which run beside the device, so that the mask
of a token is made while the model computes its hidden state.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from pie_traits_text.output_text import Dist

from pie_core import (
    U32,
    ArgumentError,
    Command,
    ControlCall,
    Embed,
    HandleError,
    Handles,
    ModelInfo,
    Planned,
    Reads,
    Space,
    Trait,
    Writes,
    hookimpl,
)
from pie_core.errors import nearest
from pie_traits_grammar.matcher import Matcher, Version, one, one_started

SYNTAXES = ("lark", "json_schema", "regex")
MOST_BYTES = 64 << 10  # of a grammar
MOST_TOKENS = 1024  # of one `advance` or `count_allowed`


class MatcherState(msgspec.Struct, frozen=True):
    """Where a matcher is."""

    tokens: U32  # taken so far
    accepting: bool  # what was taken is a whole sentence of the grammar; the end token is allowed
    ended: bool  # nothing may follow but the end token, or it was taken
    forced: bytes  # what must follow, whatever is chosen: tokenize it, and see with `count_allowed` how far it holds


class AllocMatcher(ControlCall):
    """`n` fresh matchers, without a grammar yet. An inferlet may hold 32.

    ArgumentError: not a count.
    ResourceError: more than 32 held.
    """

    returns = Annotated[tuple[int, ...], Handles(Matcher)]
    n: U32

    def apply(self, space: Space) -> list[int]:
        return space.allocate(Matcher, self.n)


class DeallocMatcher(ControlCall):
    """Give matchers back.

    HandleError: freed before, named twice or another inferlet's, and nothing is freed.
    """

    matcher: Annotated[tuple[int, ...], Handles(Matcher)]

    def apply(self, space: Space) -> None:
        space.free(Matcher, self.matcher)


class SetGrammar(Command):
    """Put a matcher at the start of a grammar.

    syntax: "lark" (EBNF as the Lark library writes it, in llguidance's dialect; the first rule is `start`),
        "json_schema" or "regex" (of the whole text, without look-around and back-references).
    grammar: the text; at most 64 KiB.

    After an error where the result is awaited the matcher can only be freed.

    ArgumentError: an unknown syntax, a text over that; where it is awaited: a grammar that cannot be compiled, with
        the place, or that has no sentence.
    ResourceError: where it is awaited: one over the limits of llguidance.
    """

    place = "host"
    returns = MatcherState
    matcher: Writes[Matcher]
    syntax: str
    grammar: str
    version: Planned[Version | None] = None

    def prepare(self, model: ModelInfo) -> None:
        matcher = one(self.matcher, "set_grammar")
        if self.syntax not in SYNTAXES:
            raise ArgumentError(f"set_grammar: no syntax {self.syntax!r}{nearest(self.syntax, SYNTAXES)}")
        size = len(self.grammar.encode())
        if size > MOST_BYTES:
            raise ArgumentError(f"set_grammar: a grammar of {size} bytes; at most {MOST_BYTES} are taken")
        matcher.length = 0
        self.version = matcher.version = Version()


class Advance(Command):
    """Take tokens, in order; all or none. An end token may be the last, where the sentence is whole.

    After a token that the grammar does not allow the commands behind this one fail, too, and the matcher can only be
    freed (`count_allowed` tells beforehand).

    ArgumentError: a token outside the vocabulary, over 1024 at once, more than the model has positions; where it is
        awaited: a token that is not allowed.
    HandleError: no grammar set.
    ResourceError: a grammar over the limits.
    """

    place = "host"
    returns = MatcherState
    matcher: Writes[Matcher]
    tokens: list[U32]
    version: Planned[Version | None] = None

    def prepare(self, model: ModelInfo) -> None:
        matcher, taken = one_started(self.matcher, "advance")
        length = taken + len(self.tokens)
        _check_tokens(self.tokens, model, "advance")
        if length > model.max_position:
            raise ArgumentError(f"advance: {length} tokens are more than the model's {model.max_position} positions")
        matcher.length = length
        self.version = matcher.version = Version()


class Rollback(Command):
    """Take back the last `count` tokens, as if they had never been taken. 0 only tells where the matcher is.

    ArgumentError: more than were taken.
    HandleError: no grammar set.
    """

    place = "host"
    returns = MatcherState
    matcher: Writes[Matcher]
    count: U32
    version: Planned[Version | None] = None

    def prepare(self, model: ModelInfo) -> None:
        matcher, length = one_started(self.matcher, "rollback")
        if self.count > length:
            raise ArgumentError(f"rollback: {self.count} tokens to take back, {length} were taken")
        matcher.length = length - self.count
        self.version = matcher.version = Version()


class CopyMatcher(Command):
    """Put `dst` where `src` is, in the same grammar; each goes its own way then.

    ArgumentError: one matcher as both.
    HandleError: `src` has no grammar.
    """

    place = "host"
    src: Writes[Matcher]
    dst: Writes[Matcher]
    version: Planned[Version | None] = None

    def prepare(self, model: ModelInfo) -> None:
        source, target = one(self.src, "copy_matcher"), one(self.dst, "copy_matcher")
        if source is target:
            raise ArgumentError("copy_matcher: source and destination are one matcher")
        target.length = one_started(self.src, "copy_matcher")[1]
        self.version = target.version = Version()


class CountAllowed(Command):
    """How many of `tokens` could be taken now, from the first; the matcher stays where it is.

    ArgumentError: a token outside the vocabulary, over 1024.
    HandleError: no grammar set.
    """

    place = "host"
    returns = U32
    matcher: Writes[Matcher]
    tokens: list[U32]

    def prepare(self, model: ModelInfo) -> None:
        one_started(self.matcher, "count_allowed")
        _check_tokens(self.tokens, model, "count_allowed")


class GetNextDistMasked(Command):
    """The next-token distribution at an Embed among the tokens that the grammar allows next.

    It is the model's distribution over the whole vocabulary, restricted to all the allowed tokens and renormalized, not
    what is left of the most probable ones. `top_k` and `rest` count among the allowed tokens; if fewer are allowed than
    `top_k`, all of them are listed. End tokens are allowed where the sentence is whole.

    It looks at the matcher as it is when this is enqueued: tokens that are taken or taken back later do not change it,
    so that the distributions of several places can be asked for in one go.

    ArgumentError: more or fewer than one Embed or matcher, `top_k` of 0.
    HandleError: an Embed that was never written, no grammar set.
    """

    returns = Dist
    emb: Reads[Embed]
    matcher: Reads[Matcher]
    top_k: U32 | None = 256
    version: Planned[Version | None] = None

    def prepare(self, model: ModelInfo) -> None:
        if len(self.emb) != 1:
            raise ArgumentError(f"get_next_dist_masked: one Embed is wanted, got {len(self.emb)}")
        if self.emb[0].position is None:
            raise HandleError("get_next_dist_masked: the Embed was never written; run forward with it in `oemb` first")
        if self.top_k == 0:
            raise ArgumentError("get_next_dist_masked: top_k is 0; name at least 1, or None for all allowed tokens")
        matcher, _ = one_started(self.matcher, "get_next_dist_masked")
        self.version = matcher.version


def _check_tokens(tokens: list[int], model: ModelInfo, where: str) -> None:
    if len(tokens) > MOST_TOKENS:
        raise ArgumentError(f"{where}: {len(tokens)} tokens at once; at most {MOST_TOKENS} are taken")
    if tokens and max(tokens) >= model.vocab_size:
        raise ArgumentError(f"{where}: token {max(tokens)} is outside the vocabulary of {model.vocab_size}")


GRAMMAR = Trait(
    name="grammar",
    version="1.0.0",
    doc="Distributions restricted to what a grammar, a JSON schema or a regular expression allows next.",
    calls=(
        AllocMatcher,
        DeallocMatcher,
        SetGrammar,
        Advance,
        Rollback,
        CopyMatcher,
        CountAllowed,
        GetNextDistMasked,
    ),
    requires=("output_text>=1,<2", "tokenize>=1,<2"),
    resources=(Matcher,),
)


@hookimpl
def pie_trait() -> Trait:
    return GRAMMAR
