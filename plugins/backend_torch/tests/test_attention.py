"""Attention over the pool is what its definition says, in one fused kernel whatever the shape. Oracle: float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pie_backend_torch.attention import GroupedAttention, attend
from pie_backend_torch.kernels import Flavour
from pie_backend_torch.pool import KvPool, LayerShape
from pie_backend_torch.step import Span, build_step
from torch.nn.attention import SDPBackend, sdpa_kernel

from .conftest import DEVICE

FUSED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]  # not the one that writes all scores to memory
BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}
WIDTH, PAGE, ROOM = 64, 16, 12  # pages of a call
CALLS = [(0, 70), (40, 1), (37, 1), (50, 9), (100, 33)]  # context, new tokens


def spans() -> list[Span]:
    """A prefill, decode steps and chunks, each in pages of its own."""
    made = []
    for place, (context, new) in enumerate(CALLS):
        first, pages = place * ROOM, -(-context // PAGE)
        live = [(1 << min(PAGE, context - PAGE * index)) - 1 for index in range(pages)]
        slots = range(first * PAGE, first * PAGE + context + new)
        made.append(Span(range(first, first + pages), live, slots[context:], range(context, context + new)))
    return made


@pytest.mark.parametrize("heads", [(8, 8), (8, 2), (4, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize("window", [None, 24])
def test_every_call_of_a_batch_attends_as_defined(heads: tuple[int, int], dtype: torch.dtype, window: Any) -> None:
    device = torch.device(DEVICE)
    pool = KvPool([LayerShape(heads[1], WIDTH, WIDTH)], ROOM * len(CALLS), PAGE, dtype, device)
    torch.manual_seed(0)
    pool.keys[0].normal_()
    pool.values[0].normal_()
    batch = spans()
    for span, (context, _) in zip(batch, CALLS, strict=True):
        pool.positions[span.slots[0] - context :][:context] = torch.arange(context, device=device)
    step = build_step(GroupedAttention(), batch, PAGE, device)
    step.place(pool)
    query, key, value = (
        torch.randn(step.count, count, WIDTH, device=device, dtype=dtype) for count in (heads[0], heads[1], heads[1])
    )
    with sdpa_kernel(FUSED):
        out = attend(step, pool, 0, query, key, value, Flavour(window=window))
    at = 0
    for span, (context, new) in zip(batch, CALLS, strict=True):
        held = slice(span.slots[0] - context, span.slots[0] + new)
        exact = defined(query[at : at + new], pool.keys[0][held], pool.values[0][held], window)
        assert (out[at : at + new].double() - exact).abs().max() < BOUNDS[dtype]
        at += new


def defined(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None) -> torch.Tensor:
    """query [new, heads, width] at the end of key and value [tokens, kv heads, width]."""
    folds, tokens = query.shape[1] // key.shape[1], key.shape[0]
    key, value = (tensor.double().repeat_interleave(folds, 1) for tensor in (key, value))
    scores = torch.einsum("qhw,khw->hqk", query.double(), key) * WIDTH**-0.5
    place = torch.arange(tokens, device=key.device)
    behind = place[:, None] - place[None]
    seen = (behind >= 0) if window is None else (behind >= 0) & (behind < window)
    scores = scores.masked_fill(~seen[tokens - query.shape[0] :], float("-inf"))
    return torch.einsum("hqk,khw->qhw", scores.softmax(-1), value)
