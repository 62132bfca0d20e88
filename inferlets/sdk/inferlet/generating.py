"""Generating: tokens are drawn until a condition, the model or its range ends the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from inferlet import calls
from inferlet.drawing import Drawing, can_draw
from inferlet.sampling import DIST_TOKENS, Constraint, Sampler, Sampling
from inferlet.stopping import Stop
from inferlet.streaming import TextDecoder

if TYPE_CHECKING:
    from inferlet.context import Context


async def stream(
    context: Context, sampler: Sampler, stop: Stop | None, constraints: Sequence[Constraint]
) -> AsyncIterator[str]:
    """See `Context.stream`."""
    decoder = TextDecoder(lambda ids: calls.detokenize(context.queue, list(ids)))
    model, answer, text = context.model, list[int](), ""
    while len(context.tokens) < model.max_position and not (stop is not None and stop(answer, text)):
        if isinstance(sampler, Sampling) and can_draw(model, constraints):
            token = await _draw_there(context, sampler)
        else:
            token = await _draw_here(context, sampler, answer, constraints)
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


async def _draw_here(context: Context, sampler: Sampler, answer: list[int], constraints: Sequence[Constraint]) -> int:
    dist = await context.next_dist(DIST_TOKENS if constraints else getattr(sampler, "top_k", DIST_TOKENS))
    for constraint in constraints:
        dist = constraint(dist, answer)
    return sampler(dist)


async def _draw_there(context: Context, sampling: Sampling) -> int:
    drawing = context.drawing
    if drawing is None or not drawing.goes_on(sampling, context.attention):
        (state,) = context.hidden_states(1)
        drawing = Drawing(context, state, sampling)
        context.draw_over(drawing)
    return await drawing.next()
