"""What of a context is ahead of its tokens: such as were drawn and not given yet, and what the server still draws."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from inferlet import calls
from inferlet.attention import Attention
from inferlet.cache import Cache
from inferlet.future import Future
from inferlet.handles import Embed

if TYPE_CHECKING:
    from inferlet.context import Context
    from inferlet.drawing import Plan


class Drawing(Protocol):
    """How a context gets its next tokens, as long as nothing else uses it."""

    @property
    def left(self) -> Collection[int]:
        """Tokens that were drawn and not given yet. The cache is ahead of the context's tokens by these at least."""
        ...

    def goes_on(self, plan: Plan, attention: Attention | None) -> bool:
        """Whether the next token can be the one that is wanted."""
        ...

    async def next(self, context: Context, answer: Sequence[int]) -> list[int]:
        """The next tokens behind an answer, one at least. The context has taken those before."""
        ...


class Ahead:
    """The drawing of a context, if there is one, and the call that runs ahead for it, as long as it is on its way.

    Whatever else uses the context calls `end` first, and finds the cache behind the tokens, never ahead.
    """

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.drawing: Drawing | None = None
        self._state: Embed | None = None  # into which the server draws
        self._before = 0  # tokens in the pages when it was asked to

    def begin(self, drawing: Drawing) -> None:
        """From now on tokens come from this one. Its draws use up the hidden state of the last token."""
        self.drawing = drawing
        self.cache.states.clear()

    def leave(self) -> None:
        """No more tokens from the drawing, of which none is left, or none is wanted by anybody any more."""
        self.drawing = None

    def end(self, count: int) -> None:
        """Have the cache behind the context's `count` tokens again, whatever was drawn."""
        kept = self.cache.pages.tokens
        if self._state is not None:  # nobody waits for what the server draws
            kept = self._before
            self.cancel()
            self.cache.states.free(self._state)
            self._state = None
        if self.drawing is not None:
            left, self.drawing = self.drawing.left, None
            if left:  # nobody took it; and whoever took the last token did not have it run
                kept = min(kept, count - 1)
        if kept < self.cache.pages.tokens:
            self.cache.take_back(kept)

    def cancel(self) -> None:
        """Have the server draw no more than it must, if it draws."""
        if self._state is not None:
            calls.end_decode(self.cache.queue, [self._state])

    def draw(
        self, state: Embed, first: int | None, most: int, attention: Attention | None, settings: Mapping[str, object]
    ) -> Future[Any]:
        """Have up to `most` tokens drawn behind `state`, after `first` was run there.

        What `decode` gives, or `decode_guided` where a matcher is among the settings. `settle` when it is there.
        """
        cache, pages = self.cache, self.cache.pages
        draw = calls.decode_guided if "matcher" in settings else calls.decode
        before, context, runs = pages.tokens, pages.handles(), most - (first is None)
        mask = cache.mask_of_next(runs, attention) if runs else None
        fresh = pages.reserve(runs)
        try:
            drawn: Future[Any] = draw(
                *(cache.queue, context, state, fresh, state, most),
                first=first,
                adapter=cache.adapter,
                mask=mask,
                **settings,
            )
        except BaseException:
            pages.settle(before)
            raise
        cache.states.clear()
        self._state, self._before = state, before
        return drawn

    def so_far(self, after: int) -> list[int]:
        """The tokens behind the first `after` that the server has drawn by now."""
        assert self._state is not None
        tokens: list[int] = calls.drawn(self.cache.queue, [self._state], after)
        return tokens

    def settle(self, run: int) -> None:
        """The server is done. It ran so many tokens, the last of which has its hidden state where it drew."""
        assert self._state is not None
        tokens = self._before + run
        self.cache.pages.settle(tokens)
        self.cache.states.put(self._state, tokens - 1)
        self._state = None
