"""Grammars that an answer has to follow (trait `grammar`), whoever draws its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from inferlet import calls
from inferlet.dist import Dist
from inferlet.errors import ArgumentError
from inferlet.host import host

if TYPE_CHECKING:
    from inferlet.context import Context
    from inferlet.sampling import Constraint


@dataclass
class Grammar:
    """A constraint: each answer is a sentence of the grammar, or the beginning of one.

    syntax, text: as `set_grammar` takes them, "lark", "json_schema" or "regex". An answer ends where nothing may
    follow. whole: whether the last one that has ended is a whole sentence; one that is cut off may be none.

    Other constraints apply to the distribution among the tokens that the grammar allows.
    """

    syntax: str
    text: str
    whole: bool = field(default=False, init=False)


class Guide:
    """The matcher of one answer: behind its last token, or ahead of it where more was drawn than was given."""

    def __init__(self, context: Context, grammar: Grammar) -> None:
        self.matcher: list[int] = calls.alloc_matcher(context.queue, 1)
        self._host = host()
        self._queue = context.queue
        self._grammar = grammar
        self._taken = 0  # tokens
        self._accepting = self._ended = False  # behind those

    @classmethod
    async def start(cls, context: Context, grammar: Grammar) -> Guide:
        """One at the start of a grammar."""
        grammar.whole = False
        guide = cls(context, grammar)
        try:
            guide._note(await calls.set_grammar(guide._queue, guide.matcher, grammar.syntax, grammar.text))
        except BaseException:
            guide.close()
            raise
        return guide

    def is_over(self, count: int) -> bool:
        """Whether nothing may follow the first `count` tokens."""
        return self._ended and self._taken == count

    def settle(self, count: int) -> None:
        """Have the matcher behind the first `count` tokens."""
        if self._taken > count:
            calls.rollback(self._queue, self.matcher, self._taken - count)
            self._taken = count

    async def next_dist(self, context: Context, top_k: int | None) -> Dist:
        """The distribution of what follows the context, among the tokens that the grammar allows."""
        (state,) = context.hidden_states(1)
        return Dist.of(await calls.get_next_dist_masked(self._queue, state, self.matcher, top_k))

    async def take(self, token: int) -> None:
        """Follow a token that the program has drawn."""
        self._note(await calls.advance(self._queue, self.matcher, token))
        self._taken += 1

    def follow(self, drawn: Any) -> list[int]:
        """The tokens of a `decode_guided`, which the matcher has followed."""
        self._note(drawn)
        self._taken += len(drawn.tokens)
        return list(drawn.tokens)

    async def finish(self, count: int) -> None:
        """The answer has so many tokens, an end token included, and is done."""
        if self._taken > count:
            self._note(await calls.rollback(self._queue, self.matcher, self._taken - count))
        self._grammar.whole = self._accepting

    def close(self) -> None:
        """Give the matcher back. From any thread, for nobody may have waited for the end of the answer."""
        self._host.defer(partial(calls.dealloc_matcher, self._queue, self.matcher))

    def _note(self, state: Any) -> None:
        self._accepting, self._ended = state.accepting, state.ended


def split_grammar(constraints: Sequence[Constraint | Grammar]) -> tuple[Grammar | None, list[Constraint]]:
    """The grammar among some constraints, and the others. Raises `ArgumentError` for two grammars."""
    grammars = [constraint for constraint in constraints if isinstance(constraint, Grammar)]
    if len(grammars) > 1:
        raise ArgumentError("an answer follows one grammar; write one that says what both say")
    others = [constraint for constraint in constraints if not isinstance(constraint, Grammar)]
    return grammars[0] if grammars else None, others
