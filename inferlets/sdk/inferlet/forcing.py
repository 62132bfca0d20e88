"""Text that a grammar forces: run in one pass as a draft, and judged as one, for it can be written with several tokens.

Beurer-Kellner et al. 2024, "Guiding LLMs The Right Way": what follows whatever is chosen costs no pass of its own. Each
token of the draft is compared with what is drawn at its place, so that the answer is the same as without.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inferlet import calls
from inferlet.ahead import Ahead
from inferlet.attention import Attention
from inferlet.dist import Dist
from inferlet.handles import Embed
from inferlet.sampling import DIST_TOKENS

if TYPE_CHECKING:
    from inferlet.context import Context
    from inferlet.drawing import Plan
    from inferlet.guiding import Guide


class Forced:
    """The tokens of one draft, as far as they held, and the one drawn behind them, given one by one."""

    def __init__(self, plan: Plan, draft: Sequence[int]) -> None:
        self.left = deque(draft)
        self._plan = plan

    def goes_on(self, plan: Plan, attention: Attention | None) -> bool:
        """See `Drawing`."""
        return plan is self._plan and attention is None and bool(self.left)

    async def next(self, context: Context, answer: Sequence[int]) -> list[int]:
        """See `Drawing`."""
        return [self.left.popleft()]


async def draw_forced(context: Context, ahead: Ahead, plan: Plan, guide: Guide, answer: Sequence[int]) -> Forced | None:
    """Run the text that is forced behind an answer; None if none is worth it, or there is nothing to run it behind."""
    draft = await _draft(context, plan, guide, len(answer)) if context.tokens else []
    if not draft:
        return None
    asked = _ask(_run(context, draft), plan, guide, draft)
    forced = Forced(plan, draft)
    ahead.begin(forced)
    try:
        tokens = _verify(plan, draft, [Dist.of(await dist) for dist in asked], answer)
        guide.settle(len(answer) + len(tokens) - 1)
        await guide.take(tokens[-1])
    except BaseException:
        if ahead.drawing is forced:
            context.truncate(len(context.tokens))
        raise
    if ahead.drawing is forced:
        ahead.cache.truncate(len(context.tokens) + len(tokens) - 1)
        forced.left = deque(tokens)
    else:  # somebody else has used the context meanwhile
        forced.left = deque(tokens[:1])
    return forced


async def _draft(context: Context, plan: Plan, guide: Guide, count: int) -> list[int]:
    """Tokens of the forced text, as far as the grammar allows these."""
    bounds = plan.bounds.most if plan.bounds is not None else None
    room = context.model.max_position - len(context.tokens) - 1
    most = min(guide.drafts, room if bounds is None else min(room, bounds - count - 1))
    text, guide.forced = guide.forced.decode("utf-8", "ignore"), b""
    draft: list[int] = calls.tokenize(context.queue, text)[: max(most, 0)] if most > 1 else []
    return draft[: await calls.count_allowed(context.queue, guide.matcher, draft)] if draft else draft


def _run(context: Context, draft: Sequence[int]) -> list[Embed]:
    """Enqueue the pass, and have the cache ahead of the tokens; the hidden states before each token and behind all."""
    before = len(context.tokens)
    context.fill_tokens(draft)
    try:
        return context.hidden_states(len(draft) + 1)
    finally:
        del context.tokens[before:]


def _ask(states: Sequence[Embed], plan: Plan, guide: Guide, draft: Sequence[int]) -> list[Any]:
    """What is to be known of each token and of the next, and to be awaited; the matcher is behind the draft then."""
    top_k = plan.sampling.top_k if plan.adjustment is None else max(plan.sampling.top_k, DIST_TOKENS)
    asked = []
    for state, token in zip(states, [*draft, None], strict=True):
        asked.append(guide.ask(state, top_k))
        if token is not None:
            guide.go(token)
    return asked


def _verify(plan: Plan, draft: Sequence[int], dists: Sequence[Dist], answer: Sequence[int]) -> list[int]:
    """What drawing token by token gives, up to the first that was not the drafted one. Draws are not counted yet."""
    tokens, draws = list[int](), plan.sampling.draws
    number = draws.number
    for drafted, dist in zip([*draft, None], dists, strict=True):
        left = dist if plan.adjustment is None else plan.adjustment(dist, [*answer, *tokens])
        tokens.append(plan.sampling(left))
        if tokens[-1] != drafted:
            break
    draws.number = number
    return tokens
