"""One layer's attention over scattered pages: decode steps, prefills, branches of one context."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from pie_backend_torch.attention import GroupedAttention
from pie_backend_torch.building import KvPool, LayerShape, Span, build_step
from pie_backend_torch.kernels import PLAIN
from pie_backend_triton.attention import TileAttention
from pie_backend_triton.coverage import processors
from pie_backend_triton.tiles import Cutting
from torch.nn import functional

from kernel_parts.shapes import PAGE, Run, Shape, error
from kernel_parts.timing import copies_of, us_of

Row = dict[str, Any]


def attention(run: Run, shape: Shape) -> Iterator[Row]:
    """Decode steps, prefills, and chunks behind a context."""
    for branches, context in run.pick(((1, 1024), (1, 16384), (32, 1024), (32, 4096), (128, 1024)), ((2, 64),)):
        yield {"kernel": "attention", "kind": "decode"} | attended(run, shape, context, 1, branches, -1)
    for branches, context, new in run.pick(((1, 0, 2048), (4, 0, 512), (4, 2048, 64)), ((1, 0, 20),)):
        yield {"kernel": "attention", "kind": "prefill"} | attended(run, shape, context, new, branches, -1)


def prefix(run: Run, shape: Shape) -> Iterator[Row]:
    """64 branches of one context, each with 32 tokens of its own: the attention of a decode step of all."""
    for context in run.pick((1024, 2048, 4096, 8192, 16384), (64, 128)):
        yield {"kernel": "attention", "kind": "prefix"} | attended(run, shape, context, 1, run.pick(64, 3), 32)


def attended(run: Run, shape: Shape, context: int, new: int, branches: int, own: int) -> Row:
    nbytes = shape.kv_numbers(branches, context, new, own) * run.dtype.itemsize
    sides = [Attending(run, shape, context, new, branches, own) for _ in range(min(4, copies_of(nbytes, run.device)))]
    us, torch_us = (us_of([partial(one, side) for one in sides], run.device) for side in (0, 1))
    exact = sides[0].exact()
    return {
        "calls": branches,
        "context": context,
        "new": new,
        "us": round(us, 2),
        "torch_us": round(torch_us, 2),
        "to_torch": round(us / torch_us, 3),
        "sdpa_us": round(dense_us(run, shape, context, new, branches), 2) if own < 0 else None,
        "roof": run.roof(nbytes, us),
        "error": error(sides[0](0), exact),
        "torch_error": error(sides[0](1), exact),
    }


def dense_us(run: Run, shape: Shape, context: int, new: int, branches: int) -> float:
    """SDPA over keys that lie densely, as no server's do: what attention costs torch without pages."""
    length = context + new
    nbytes = shape.kv_numbers(branches, context, new, -1) * run.dtype.itemsize

    def made() -> Callable[[], torch.Tensor]:
        query = run.normal(branches, shape.heads, new, shape.width)
        key, value = (run.normal(branches, shape.kv_heads, length, shape.width) for _ in range(2))
        causal = new > 1 and context == 0
        return partial(functional.scaled_dot_product_attention, query, key, value, is_causal=causal, enable_gqa=True)

    return us_of([made() for _ in range(min(4, copies_of(nbytes, run.device)))], run.device)


class Attending:
    """One layer's attention over a pool, by our tiles (side 0) and by the torch backend (side 1)."""

    def __init__(self, run: Run, shape: Shape, context: int, new: int, branches: int, own: int) -> None:
        spans, pages = self.spans, _ = calls_of(context, new, branches, own)
        self.pool = KvPool([LayerShape(shape.kv_heads, shape.width, shape.width)], pages, PAGE, run.dtype, run.device)
        self.pool.keys[0].normal_()
        self.pool.values[0].normal_()
        set_positions(self.pool, spans)
        self.query = run.normal(branches * new, shape.heads, shape.width)
        self.tokens, self.shape = (branches, new), shape
        self.steps = [
            build_step(kind, spans, PAGE, run.device) for kind in (TileAttention(self.cutting()), GroupedAttention())
        ]
        for step in self.steps:
            step.place(self.pool)
        self.key, self.value = (tensor[0][self.steps[0].slots] for tensor in (self.pool.keys, self.pool.values))

    def cutting(self, spread: int = 2, **cut: Any) -> Cutting:
        shape, device = self.shape, self.pool.positions.device
        return Cutting(shape.heads // shape.kv_heads, shape.kv_heads, PAGE, spread * processors(device), **cut)

    def cut(self, **cut: Any) -> None:
        """Plan our side anew. See `cutting`."""
        self.steps[0] = build_step(TileAttention(self.cutting(**cut)), self.spans, PAGE, self.pool.positions.device)
        self.place()

    def place(self) -> None:
        """Make our side look anew at what its tiles see, when it attends next."""
        self.steps[0].place(self.pool)

    def __call__(self, side: int) -> torch.Tensor:
        return self.steps[side].plan.attend(self.pool, 0, self.query, self.key, self.value, PLAIN)

    def exact(self) -> torch.Tensor:
        """The torch backend's, in float32 (float64 would not fit its kernels): a hundred times as exact as bfloat16."""
        from pie_backend_torch.building import KvPool

        shape, pool = self.pool.keys[0].shape, self.pool
        wide = KvPool([], pool.pages, pool.page_size, torch.float32, pool.positions.device)
        wide.positions = pool.positions
        wide.keys, wide.values = [pool.keys[0].float()], [pool.values[0].float()]
        assert shape == wide.keys[0].shape
        step = self.steps[1]
        step.place(wide)
        out = step.plan.attend(wide, 0, self.query.float(), self.key.float(), self.value.float(), PLAIN)
        step.place(pool)
        return out


def set_positions(pool: KvPool, spans: Sequence[Span]) -> None:
    """The context of these calls stands in order."""
    for span in spans:
        slots = torch.tensor(span.pages, dtype=torch.int64)[:, None] * PAGE + torch.arange(PAGE)
        held, positions = slots.view(-1)[: span.positions[0]], torch.arange(span.positions[0])
        if not len(held):
            continue  # a prefill without a context
        pool.positions[held.to(pool.positions.device)] = positions.to(pool.positions.device)
        pool.keep_ledger().write(held.numpy(), positions.numpy())


def calls_of(context: int, new: int, branches: int, own: int) -> tuple[list[Any], int]:
    """Calls of `new` tokens behind `context` tokens that all share (own: and some of their own), and pages needed.

    Pages are scattered. With `own` of -1 nothing is shared.
    """
    whole = (1 << PAGE) - 1
    each = -(-(context + max(own, 0) + new) // PAGE) + 1
    total = branches * each if own < 0 else context // PAGE + branches * (-(-(own + new) // PAGE) + 1)
    order = torch.randperm(total, generator=torch.Generator().manual_seed(0)).tolist()
    take = iter(order)
    shared = [next(take) for _ in range(context // PAGE)] if own >= 0 else []
    spans = []
    for _ in range(branches):
        behind = shared or [next(take) for _ in range(context // PAGE)]
        mine = [next(take) for _ in range(-(-(max(own, 0) + new) // PAGE))]
        live = [min(PAGE, max(0, max(own, 0) - PAGE * place)) for place in range(len(mine))]
        held = [(page, (1 << count) - 1) for page, count in zip(mine, live, strict=True) if count]
        start = max(own, 0)
        slots = [mine[at // PAGE] * PAGE + at % PAGE for at in range(start, start + new)]
        at = len(behind) * PAGE + start
        pages, bits = [*behind, *(page for page, _ in held)], [whole] * len(behind) + [bit for _, bit in held]
        spans.append(Span(pages, bits, slots, range(at, at + new)))
    return spans, total
