"""Speculative decoding: one pass judges the tokens that a drafter guessed, and the text is that of plain decoding.

Leviathan et al. 2023, Algorithm 1, for a drafter that is certain of its drafts: each token takes one draw from its own
distribution, as in plain sampling, and what is drafted behind a draw that differs is rejected.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from inferlet import calls
from inferlet.dist import Dist
from inferlet.drafting import Drafter
from inferlet.sampling import DIST_TOKENS, Sampler
from inferlet.stopping import Stop
from inferlet.streaming import TextDecoder

if TYPE_CHECKING:
    from inferlet.context import Context


async def speculate(context: Context, drafter: Drafter, sampler: Sampler, limit: int) -> AsyncIterator[list[int]]:
    """Generate up to `limit` tokens, or to the model's end of an answer; yields those of each forward pass."""
    top_k, ends = getattr(sampler, "top_k", DIST_TOKENS), context.model.eos_tokens
    while limit > 0:
        draft = list(takewhile(lambda token: token not in ends, drafter(context.tokens)[: limit - 1]))
        context.fill_tokens(draft)
        tokens = verify(draft, await context.next_dists(len(draft) + 1, top_k), sampler)
        context.truncate(len(context.tokens) - len(draft) + len(tokens) - 1)  # what was rejected leaves the cache
        if tokens[-1] in ends:
            yield tokens[:-1]
            return
        context.fill_tokens(tokens[-1:])
        limit -= len(tokens)
        yield tokens


def verify(draft: Sequence[int], dists: Sequence[Dist], sampler: Sampler) -> list[int]:
    """What sampling token by token gives, up to the first token that was not the drafted one."""
    tokens: list[int] = []
    for drafted, dist in zip([*draft, None], dists, strict=True):
        tokens.append(sampler(dist))
        if tokens[-1] != drafted:
            break
    return tokens


async def stream(context: Context, drafter: Drafter, sampler: Sampler, stop: Stop | None) -> AsyncIterator[str]:
    """See `Context.stream`. The pieces are those of passes; the context ends where `stop` says so."""
    decoder = TextDecoder(lambda ids: calls.detokenize(context.queue, list(ids)))
    answer, text, start = list[int](), "", len(context.tokens)
    if stop is not None and stop(answer, text):
        return
    async for tokens in speculate(context, drafter, sampler, context.model.max_position - start):
        shown, stopped = len(text), False
        for token in tokens:
            answer.append(token)
            text += decoder.add(token)
            if stopped := stop is not None and stop(answer, text):
                context.truncate(start + len(answer))
                break
        if len(text) > shown:
            yield text[shown:]
        if stopped:
            break
    rest = decoder.flush()
    if rest:
        yield rest
