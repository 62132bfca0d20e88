"""Grammars that an answer has to follow (trait `grammar`), whoever draws its tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from inferlet import calls
from inferlet.dist import Dist
from inferlet.errors import ArgumentError
from inferlet.handles import Embed
from inferlet.host import host

if TYPE_CHECKING:
    from inferlet.context import Context
    from inferlet.sampling import Constraint


WORTH = 6  # bytes of forced text: some two tokens


@dataclass
class Grammar:
    """A constraint: each answer is a sentence of the grammar, or the beginning of one.

    syntax, text: as `set_grammar` takes them, "lark", "json_schema" or "regex". An answer ends where nothing may
    follow. drafts: where the server draws, so many tokens of text that is forced are run in one pass; 0: each in one of
    its own.
    whole, ended: whether the last answer that is done is a whole sentence, and whether nothing could have followed.

    Other constraints apply to the distribution among the tokens that the grammar allows.
    """

    syntax: str
    text: str
    drafts: int = 16
    whole: bool = field(default=False, init=False)
    ended: bool = field(default=False, init=False)


class Guide:
    """The matcher of one answer: behind its last token, or ahead of it where more was drawn than was given."""

    def __init__(self, context: Context, grammar: Grammar) -> None:
        self.matcher: list[int] = calls.alloc_matcher(context.queue, 1)
        self._host = host()
        self._queue = context.queue
        self._grammar = grammar
        self.drafts = grammar.drafts
        self.forced = b""  # what must follow
        self._taken = 0  # tokens
        self._accepting = self._ended = False  # behind those

    @classmethod
    async def start(cls, context: Context, grammar: Grammar) -> Guide:
        """One at the start of a grammar."""
        grammar.whole = grammar.ended = False
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

    @property
    def pause(self) -> int:
        """How many bytes of forced text are worth a pass of their own; 0: no text is."""
        return WORTH if self.drafts else 0

    @property
    def forces(self) -> bool:
        """Whether such text must follow what was taken."""
        return 0 < self.pause <= len(self.forced)

    def settle(self, count: int) -> None:
        """Have the matcher behind the first `count` tokens."""
        if self._taken > count:
            calls.rollback(self._queue, self.matcher, self._taken - count)
            self._taken, self.forced = count, b""

    async def next_dist(self, context: Context, top_k: int | None) -> Dist:
        """The distribution of what follows the context, among the tokens that the grammar allows."""
        (state,) = context.hidden_states(1)
        return Dist.of(await self.ask(state, top_k))

    def ask(self, state: Embed, top_k: int | None) -> Awaitable[Any]:
        """The distribution at a hidden state among what may follow what was taken by now."""
        asked: Awaitable[Any] = calls.get_next_dist_masked(self._queue, state, self.matcher, top_k)
        return asked

    def go(self, token: int) -> None:
        """Take a token that may turn out not to be wanted."""
        calls.advance(self._queue, self.matcher, token)
        self._taken += 1

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
        self._grammar.whole, self._grammar.ended = self._accepting, self._ended

    def close(self) -> None:
        """Give the matcher back. From any thread, for nobody may have waited for the end of the answer."""
        self._host.defer(partial(calls.dealloc_matcher, self._queue, self.matcher))

    def _note(self, state: Any) -> None:
        self._accepting, self._ended, self.forced = state.accepting, state.ended, state.forced


def split_grammar(constraints: Sequence[Constraint | Grammar]) -> tuple[Grammar | None, list[Constraint]]:
    """The grammar among some constraints, and the others. Raises `ArgumentError` for two grammars."""
    grammars = [constraint for constraint in constraints if isinstance(constraint, Grammar)]
    if len(grammars) > 1:
        raise ArgumentError("an answer follows one grammar; write one that says what both say")
    others = [constraint for constraint in constraints if not isinstance(constraint, Grammar)]
    return grammars[0] if grammars else None, others
