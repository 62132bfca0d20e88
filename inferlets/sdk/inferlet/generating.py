"""Generating: tokens are drawn until a condition, the model or its range ends the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from inferlet import calls
from inferlet.drawing import Burst, Plan, can_draw, draw_there, plan_drawing
from inferlet.sampling import DIST_TOKENS, Constraint, Sampler
from inferlet.stopping import Stop
from inferlet.streaming import TextDecoder

if TYPE_CHECKING:
    from inferlet.context import Context


async def stream(
    context: Context, sampler: Sampler, stop: Stop | None, constraints: Sequence[Constraint], burst: Burst
) -> AsyncIterator[str]:
    """See `Context.stream`."""
    decoder = TextDecoder(lambda ids: calls.detokenize(context.queue, list(ids)))
    model, answer, text = context.model, list[int](), ""
    plan = plan_drawing(model, sampler, stop, constraints, burst)
    while len(context.tokens) < model.max_position and not (stop is not None and stop(answer, text)):
        token = await _next(context, plan, sampler, answer, constraints)
        if token in model.eos_tokens:
            context.drawing = None  # nothing goes on behind this token
            break
        answer.append(token)
        context.tokens.append(token)
        piece = decoder.add(token)
        text += piece
        if piece:
            yield piece
    rest = decoder.flush()
    if rest:
        yield rest


async def _next(
    context: Context, plan: Plan | None, sampler: Sampler, answer: list[int], constraints: Sequence[Constraint]
) -> int:
    if plan is not None and can_draw(context, plan):
        return await draw_there(context, plan, answer)
    wanted: int = getattr(sampler, "top_k", DIST_TOKENS)
    dist = await context.next_dist(max(wanted, DIST_TOKENS) if constraints else wanted)
    for constraint in constraints:
        dist = constraint(dist, answer)
    return sampler(dist)
