"""Tokens drawn by the server (trait `decode`): many by one call, or, where each pass needs a mask, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inferlet import calls
from inferlet.adjusting import Adjustment
from inferlet.ahead import Ahead, Drawing
from inferlet.attention import Attention
from inferlet.bursts import Burst, Bursts
from inferlet.forcing import draw_forced
from inferlet.guiding import Guide
from inferlet.handles import Embed
from inferlet.model import Model
from inferlet.sampling import Constraint, Sampler, Sampling
from inferlet.stopping import Foreseen, Stop

if TYPE_CHECKING:
    from inferlet.context import Context


@dataclass(frozen=True)
class Plan:
    """How the tokens of one answer are to be drawn.

    bounds: what ends it; None: only the program knows. together: nobody acts between two tokens that are both there.
    """

    sampling: Sampling
    adjustment: Adjustment | None
    guide: Guide | None
    bounds: Foreseen | None
    burst: Burst
    together: bool = False

    @property
    def one_by_one(self) -> bool:
        """Whether `sample` serves better than `decode`."""
        return self.bounds is None and self.adjustment is None and self.guide is None

    @property
    def many_at_once(self) -> bool:
        """Whether to give tokens together: not where one has to look behind each of them whether it ends the answer."""
        return self.together and self.bounds is not None and not self.bounds.endings and self.guide is None


def plan_drawing(
    model: Model,
    sampler: Sampler,
    stop: Stop | None,
    constraints: Sequence[Constraint],
    guide: Guide | None,
    burst: Burst,
    together: bool,
) -> Plan | None:
    """The plan, if the server can do this."""
    trait = "decode" if guide is None else "decode_guided"
    if trait not in model.traits or not isinstance(sampler, Sampling) or len(constraints) > 1:
        return None
    adjustment = constraints[0] if constraints else None
    if not (adjustment is None or isinstance(adjustment, Adjustment)):
        return None
    bounds = Foreseen() if stop is None else stop if isinstance(stop, Foreseen) else None
    return Plan(sampler, adjustment, guide, bounds, burst if guide is None else burst.unseen(), together)


async def draw_there(context: Context, ahead: Ahead, plan: Plan, answer: Sequence[int]) -> list[int]:
    """The next tokens of an answer, one at least."""
    drawing = ahead.drawing
    if drawing is None or not drawing.goes_on(plan, context.attention):
        drawing = await _begin(context, ahead, plan, answer)
    try:
        tokens = await drawing.next(context, answer)
    except BaseException:
        ahead.leave()
        raise
    plan.sampling.draws.number += len(tokens)
    return tokens


async def _begin(context: Context, ahead: Ahead, plan: Plan, answer: Sequence[int]) -> Drawing:
    """What gives the next tokens."""
    if plan.guide is not None:
        plan.guide.settle(len(answer))
        if plan.guide.forces and (forced := await draw_forced(context, ahead, plan, plan.guide, answer)) is not None:
            return forced
    (state,) = context.hidden_states(1)
    drawing = (OneByOne if plan.one_by_one else Bursts)(ahead, state, plan, context.attention)
    ahead.begin(drawing)
    return drawing


class OneByOne:
    """Draws one after the other behind the last token of a context, whose hidden state is `state`.

    Each draw leaves the token's embedding in `state`, and the next pass its hidden state.
    """

    left = ()

    def __init__(self, ahead: Ahead, state: Embed, plan: Plan, attention: Attention | None) -> None:
        self._cache = ahead.cache
        self._state = [state]
        self._sampling = plan.sampling
        self._attention = attention
        self._drawn = False

    def goes_on(self, plan: Plan, attention: Attention | None) -> bool:
        """See `Drawing`."""
        return plan.one_by_one and plan.sampling is self._sampling and attention is self._attention

    async def next(self, context: Context, answer: Sequence[int]) -> list[int]:
        """See `Drawing`."""
        state, how, draws = self._state, self._sampling, self._sampling.draws
        if self._drawn:
            self._cache.append(state, state, self._attention)
        self._drawn = True
        token: int = await calls.sample(
            context.queue, state, state, how.temperature, how.top_k, how.top_p, how.min_p, draws.seed, draws.number
        )
        return [token]
