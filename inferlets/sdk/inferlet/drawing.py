"""Tokens drawn by the server (trait `decode`): a step is one pass and one draw, and one answer to wait for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from inferlet import calls
from inferlet.attention import Attention
from inferlet.handles import Embed
from inferlet.model import Model
from inferlet.sampling import Constraint, Sampling

if TYPE_CHECKING:
    from inferlet.context import Context


def can_draw(model: Model, constraints: Sequence[Constraint]) -> bool:
    """Whether the server can draw for this program."""
    return not constraints and "decode" in model.traits


class Drawing:
    """Draws one after the other behind the last token of a context, whose hidden state is `state`.

    Each draw leaves the token's embedding in `state`, and the next pass its hidden state. Good as long as it is the
    context's `drawing`.
    """

    def __init__(self, context: Context, state: Embed, sampling: Sampling) -> None:
        self._context = context
        self._state = [state]
        self._sampling = sampling
        self._attention = context.attention
        self._drawn = False

    def goes_on(self, sampling: Sampling, attention: Attention | None) -> bool:
        """Whether the next draw can be the one that is wanted."""
        return sampling is self._sampling and attention is self._attention

    async def next(self) -> int:
        """The next token. The context has taken the one before."""
        context, state, how, draws = self._context, self._state, self._sampling, self._sampling.draws
        if self._drawn:
            context.run_drawn(state)
        self._drawn = True
        try:
            token: int = await calls.sample(
                context.queue, state, state, how.temperature, how.top_k, how.top_p, how.min_p, draws.seed, draws.number
            )
        except BaseException:
            context.drawing = None
            raise
        draws.number += 1
        return token
