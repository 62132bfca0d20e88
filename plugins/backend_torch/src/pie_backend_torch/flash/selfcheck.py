"""Proof at load that FlashInfer says what torch's attention says, on this device and for the model's own shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pie_backend_torch.attention import GroupedAttention
from pie_backend_torch.flash.attention import FlashInferAttention
from pie_backend_torch.flash.sharing import LEAST
from pie_backend_torch.kernels import Attention, Flavour
from pie_backend_torch.pool import KvPool, LayerShape
from pie_backend_torch.step import Span, build_step

TOLERANCE = 2e-2  # of the largest number; bfloat16 rounds by up to 4e-3


@dataclass(frozen=True)
class Asked:
    """What some layers of a model ask of its attention."""

    heads: int
    shape: LayerShape
    flavour: Flavour


@torch.no_grad()
def difference(
    attention: FlashInferAttention, asked: Asked, dtype: torch.dtype, device: torch.device, size: int
) -> float:
    """The largest difference from torch's attention, in parts of the largest number, over a few passes."""
    generator = torch.Generator().manual_seed(3)
    pages = 3 * (LEAST // size) + 8
    pools = [KvPool([asked.shape], pages, size, dtype, device) for _ in range(2)]
    for kept in ("keys", "values"):
        drawn = torch.randn(getattr(pools[0], kept)[0].shape, generator=generator).to(device, dtype)
        for pool in pools:
            getattr(pool, kept)[0].copy_(drawn)
    worst = 0.0
    for spans in _passes(size):
        tokens = sum(len(span.slots) for span in spans)
        query = torch.randn(tokens, asked.heads, asked.shape.key_width, generator=generator).to(device, dtype)
        one = _attended(attention, spans, pools[0], query, asked.flavour).float()
        other = _attended(GroupedAttention(), spans, pools[1], query, asked.flavour).float()
        error = ((one - other).abs().max() / other.abs().max()).item()
        worst = max(worst, error) if error == error else float("inf")  # NaN is no small difference
    return worst


def _attended(attention: Attention, spans: Sequence[Span], pool: KvPool, query: Tensor, flavour: Flavour) -> Tensor:
    step = build_step(attention, spans, pool.page_size, query.device)
    step.place(pool)
    key, value = (kept[0].index_select(0, step.slots) for kept in (pool.keys, pool.values))
    return step.plan.attend(pool, 0, query, key, value, flavour)


def _passes(size: int) -> list[list[Span]]:
    """Ragged prefills; then steps behind a shared prefix, with single tokens, two masks, and a page with a hole."""
    whole, prefix = (1 << size) - 1, range(LEAST // size)
    first = (len(prefix) + 1) * size  # the other prompts begin behind the first's pages
    begun = [
        Span([], [], range(LEAST + 3), range(LEAST + 3)),
        Span([], [], range(first, first + size + 3), range(size + 3)),
    ]
    own, free = first // size, first + 2 * size
    full = [whole] * len(prefix)
    mask = np.tril(np.ones((3, size + 6), dtype=bool), size + 3)
    mask[:, 2::3] = False
    beside = Span([own, own + 1], [whole, 0b111], range(free, free + 3), range(size + 3, size + 6), mask)
    return [
        begun,
        [
            Span([*prefix, len(prefix)], [*full, 0b111], [LEAST + 3], [LEAST + 3]),
            Span(prefix, full, [free + size], [LEAST]),
            Span([own, own + 1], [whole, 0b111], [first + size + 3], [size + 3]),
            beside,
            Span([own, own + 1], [whole & ~0b1010, 0b111], range(free + 2 * size, free + 2 * size + 2), [40, 41]),
            Span(prefix, full, range(free + 3 * size, free + 3 * size + 9), range(LEAST, LEAST + 9)),
        ],
    ]
