"""Generating: tokens are drawn until a condition, the model or its range ends the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inferlet import calls, speculating
from inferlet.ahead import Ahead
from inferlet.bursts import Burst
from inferlet.dist import Dist
from inferlet.drafting import Drafter
from inferlet.drawing import Plan, draw_there, plan_drawing
from inferlet.errors import ArgumentError
from inferlet.guiding import Grammar, Guide, split_grammar
from inferlet.sampling import DIST_TOKENS, Constraint, Sampler, greedy
from inferlet.stopping import Foreseen, Stop
from inferlet.streaming import TextDecoder

if TYPE_CHECKING:
    from inferlet.context import Context


WHOLE = Burst(32, 256, whole=256)  # tokens drawn by one call for who waits for the whole text
SOON = Burst(1, 256, growth=64, whole=256, within_s=0.5, shown_s=0.05)  # for who waits for the next token


def pieces(
    context: Context,
    ahead: Ahead,
    sampler: Sampler | None,
    stop: Stop | None,
    constraints: Sequence[Constraint | Grammar],
    drafter: Drafter | None,
    burst: Burst,
    together: bool,
) -> AsyncIterator[str]:
    """See `Context.stream`. Where the server draws, it draws by bursts like this one."""
    _check_kinds(sampler, stop, constraints)
    if drafter is None:
        return _stream(context, ahead, sampler or greedy(), stop, constraints, burst, together)
    if constraints:
        raise ArgumentError("a drafter and constraints do not go together: leave one of them out")
    return speculating.stream(context, drafter, sampler or greedy(), stop)


def _check_kinds(sampler: object, stop: object, constraints: object) -> None:
    """What is taken for something else would fail where nobody sees why."""
    if isinstance(sampler, Foreseen):
        raise ArgumentError("sampler: got a stop condition; write stop=max_tokens(...), stop=ends_with(...)")
    for name, given, wanted in (
        ("sampler", sampler, "greedy(), sampling(...) or a function of a distribution"),
        ("stop", stop, "max_tokens(...), ends_with(...) or a function of tokens and text"),
    ):
        if given is not None and not callable(given):
            raise ArgumentError(f"{name}: expected {wanted}, got {given!r} ({type(given).__name__})")
    if isinstance(constraints, Grammar) or callable(constraints):
        raise ArgumentError("constraints: expected a list, got a constraint alone; write constraints=[...]")


async def _stream(
    context: Context,
    ahead: Ahead,
    sampler: Sampler,
    stop: Stop | None,
    constraints: Sequence[Constraint | Grammar],
    burst: Burst,
    together: bool,
) -> AsyncIterator[str]:
    grammar, others = split_grammar(constraints)
    guide = await Guide.start(context, grammar) if grammar is not None else None
    plan = plan_drawing(context.model, sampler, stop, others, guide, burst, together)
    way = Way(context, ahead, sampler, others, guide, plan)
    decoder = TextDecoder(lambda ids: calls.detokenize(context.queue, list(ids)))
    model, answer, text, closed = context.model, list[int](), "", False
    try:
        while len(context.tokens) < model.max_position and not (stop is not None and stop(answer, text)):
            if guide is not None and guide.is_over(len(answer)):
                break
            tokens = await way.next(answer)
            if closed := tokens[-1] in model.eos_tokens:
                ahead.leave()  # nothing goes on behind this token
                tokens.pop()
            answer += tokens
            context.tokens += tokens
            piece = decoder.add(*tokens)
            text += piece
            if piece:
                yield piece
            if closed:
                break
        if guide is not None:
            await guide.finish(len(answer) + closed)
    finally:
        if guide is not None:
            guide.close()
    rest = decoder.flush()
    if rest:
        yield rest


@dataclass(frozen=True)
class Way:
    """How the tokens of one answer are drawn: by the server, as planned, where it can; else here."""

    context: Context
    ahead: Ahead
    sampler: Sampler
    constraints: Sequence[Constraint]
    guide: Guide | None
    plan: Plan | None

    async def next(self, answer: list[int]) -> list[int]:
        """The next tokens of the answer, one at least."""
        if self.plan is not None:
            return await draw_there(self.context, self.ahead, self.plan, answer)
        wanted: int = getattr(self.sampler, "top_k", DIST_TOKENS)
        dist = await self._dist(max(wanted, DIST_TOKENS) if self.constraints else wanted, len(answer))
        for constraint in self.constraints:
            dist = _changed(constraint, dist, answer)
        token = self.sampler(dist)
        if self.guide is not None:
            await self.guide.take(token)
        return [token]

    async def _dist(self, top_k: int, count: int) -> Dist:
        if self.guide is None:
            return await self.context.next_dist(top_k)
        self.guide.settle(count)
        return await self.guide.next_dist(self.context, top_k)


def _changed(constraint: Constraint, dist: Dist, answer: Sequence[int]) -> Dist:
    changed = constraint(dist, answer)
    if not isinstance(changed, Dist):
        raise ArgumentError(f"constraint {constraint!r}: it returned {type(changed).__name__}; return a Dist")
    return changed
