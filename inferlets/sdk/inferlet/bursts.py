"""Tokens drawn by few calls of `decode`, many by each, and given while they are drawn where somebody waits for them."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from inferlet.ahead import Ahead
from inferlet.attention import Attention
from inferlet.errors import ResourceError
from inferlet.future import Future
from inferlet.handles import Embed
from inferlet.model import Model

if TYPE_CHECKING:
    from inferlet.context import Context
    from inferlet.drawing import Plan


ROWS = 64  # tokens drawn by one call where each has a row of a mask
SMALL = 8  # tokens that one waits for until they are shown all at once
_SHORTEST_PAUSE_S = 1e-3  # before one looks at a call for the first time; then twice as long each time


@dataclass(frozen=True)
class Burst:
    """How many tokens are drawn by one call: first so many, then `growth` times as many each time, up to `most`.

    whole: but all that an answer may still have, if that is no more: pages for so many are no waste. within_s: else no
    more than come in so many seconds. shown_s: for who shows tokens as they come, the first before all: after how many
    seconds at the latest those are given that a call has drawn by then.
    """

    first: int
    most: int
    growth: int = 2
    whole: int = 0
    within_s: float = math.inf
    shown_s: float | None = None

    def after(self, count: int, took_s: float) -> int:
        """How many next, if `count` have taken so long."""
        pace = self.most if took_s * self.most <= count * self.within_s else int(count * self.within_s / took_s)
        return max(1, min(self.growth * count, self.most, pace))

    def unseen(self) -> Burst:
        """The same where nobody can see what a call has drawn before it is done."""
        return self if self.shown_s is None else Burst(1, min(self.most, SMALL))


@dataclass(frozen=True)
class Call:
    """A call that is on its way. most: tokens that it draws. since: when it was made, on the clock `monotonic`."""

    most: int
    drawn: Future[Any]
    since: float


class Bursts:
    """Draws many behind the last token of a context, whose hidden state is `state`, and gives what is there.

    Before it gives the last of a call it makes the next one, so that the device need not wait for who takes them.
    """

    def __init__(self, ahead: Ahead, state: Embed, plan: Plan, attention: Attention | None) -> None:
        self._ahead = ahead
        self._state = state
        self._plan = plan
        self._attention = attention
        self._most = plan.burst.most if attention is None else min(plan.burst.most, ROWS)
        self._size = min(plan.burst.first, self._most)
        self.left: deque[int] = deque()
        self._last: int | None = None  # of the last call that is done
        self._on_way: Call | None = None
        self._early = 0  # how many of its tokens were taken before it is done
        self._pause_s = _SHORTEST_PAUSE_S

    def goes_on(self, plan: Plan, attention: Attention | None) -> bool:
        """See `Drawing`."""
        forced = not self.left and plan.guide is not None and plan.guide.forces
        return plan is self._plan and attention is self._attention and not forced

    async def next(self, context: Context, answer: Sequence[int]) -> list[int]:
        """See `Drawing`."""
        while not self.left:
            await self._draw(context, answer)
        tokens = list(self.left) if self._plan.many_at_once else [self.left[0]]
        for _ in tokens:
            self.left.popleft()
        return tokens

    async def _draw(self, context: Context, answer: Sequence[int]) -> None:
        """More tokens, or none yet."""
        call = self._on_way = self._on_way or self._call_or_less(context, answer)
        waited = not call.drawn.done
        if waited and not await self._comes_soon(call):
            self._take_early(call, context.model)
            return
        told = await call.drawn
        guide, first, early = self._plan.guide, self._last, self._early
        drawn = told if guide is None else guide.follow(told)
        self._on_way, self._early, self._pause_s = None, 0, _SHORTEST_PAUSE_S
        if self._ahead.drawing is not self:  # somebody else has used the context meanwhile
            self.left.append(drawn[early])
            return
        self._ahead.settle(len(drawn) - (first is None))
        self.left.extend(drawn[early:])
        self._last = drawn[-1]
        # a call that was done before may have been quick, and the first one has waited for the prompt
        took_s = monotonic() - call.since if waited and first is not None else 0.0
        self._size = min(self._plan.burst.after(call.most, took_s), self._most)
        if len(drawn) == call.most and self._last not in context.model.eos_tokens:
            self._call_ahead(context, answer)

    async def _comes_soon(self, call: Call) -> bool:
        """Whether it is done before tokens are to be shown; or nobody minds, or may be shown any."""
        longest, displaced = self._plan.burst.shown_s, self._ahead.drawing is not self
        if longest is None or call.most == 1 or displaced:
            return True
        try:
            await asyncio.wait_for(_done(call.drawn), self._pause_s)
        except TimeoutError:
            self._pause_s = min(2 * self._pause_s, longest)
            return False
        return True

    def _take_early(self, call: Call, model: Model) -> None:
        """What is there by now, but for a token that may be the last: with that one the call is to be done."""
        if self._ahead.drawing is not self:
            return
        tokens, bounds = self._ahead.so_far(self._early), self._plan.bounds
        may_end = bounds is not None and bool(bounds.endings)
        if tokens and (may_end or tokens[-1] in model.eos_tokens or self._early + len(tokens) == call.most):
            tokens.pop()
        self._early += len(tokens)
        self.left.extend(tokens)

    def _call_or_less(self, context: Context, answer: Sequence[int]) -> Call:
        """The next call; of half as many tokens, and so on, while there is no room."""
        most = self._wanted(context, answer)
        while True:
            try:
                return self._call(context, answer, most)
            except ResourceError:
                if most == 1:
                    raise
                most //= 2

    def _call_ahead(self, context: Context, answer: Sequence[int]) -> None:
        """The call behind the tokens that are left, if there is room and the answer may go on."""
        most = self._wanted(context, answer)
        if most > 0 and self._plan.bounds is not None and self._plan.guide is None:
            with suppress(ResourceError):
                self._on_way = self._call(context, answer, most)

    def _call(self, context: Context, answer: Sequence[int], most: int) -> Call:
        settings = self._settings(context.model, answer)
        return Call(most, self._ahead.draw(self._state, self._last, most, self._attention, settings), monotonic())

    def _wanted(self, context: Context, answer: Sequence[int]) -> int:
        """How many tokens a call is to draw behind those that are left."""
        bounds, burst, most = self._plan.bounds, self._plan.burst, self._size
        alone = burst.shown_s is not None and self._last is None  # nothing is awaited as much as the first token
        if bounds is None:
            most = 1
        elif bounds.most is not None:
            left = bounds.most - len(answer) - len(self.left)
            most = left if left <= min(burst.whole, self._most) and not alone else min(most, left)
        return min(most, context.model.max_position - len(context.tokens) - len(self.left))

    def _settings(self, model: Model, answer: Sequence[int]) -> dict[str, object]:
        how, adjustment, bounds = self._plan.sampling, self._plan.adjustment, self._plan.bounds
        settings: dict[str, object] = {
            "stop": list(model.eos_tokens),
            "breaks": [ending for ending in bounds.endings if ending] if bounds is not None else [],
            "temperature": how.temperature,
            "top_k": how.top_k,
            "top_p": how.top_p,
            "min_p": how.min_p,
            "seed": how.draws.seed,
            "draw": how.draws.number + len(self.left),
        }
        if adjustment is not None:
            settings["biased"], settings["bias"] = list(adjustment.bias), list(adjustment.bias.values())
            settings["presence"], settings["frequency"] = adjustment.presence, adjustment.frequency
            settings["seen"] = [*adjustment.seen, *answer, *self.left] if adjustment.counts else []
        if self._plan.guide is not None:
            settings["matcher"], settings["pause"] = self._plan.guide.matcher, self._plan.guide.pause
        return settings


async def _done(future: Future[Any]) -> None:
    await future
