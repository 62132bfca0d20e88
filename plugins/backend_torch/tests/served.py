"""A pool whose unwritten slots are poison, under FlashInfer's attention, every row compared with the definition."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pie_backend_torch.flash.attention import FlashInferAttention
from pie_backend_torch.flash.tables import Engine
from pie_backend_torch.kernels import PLAIN, Flavour
from pie_backend_torch.pool import KvPool, LayerShape
from pie_backend_torch.step import Span, build_step
from torch import Tensor

HEADS, SHAPE, PAGE, PAGES = 4, LayerShape(2, 64, 64), 8, 120
WHOLE = (1 << PAGE) - 1
BOUNDS = {torch.bfloat16: 1e-2, torch.float16: 4e-3}  # of the largest number


class Served:
    """The pool, and where its tokens stand."""

    def __init__(self, engine: Engine, device: str = "cpu", dtype: torch.dtype = torch.bfloat16) -> None:
        self.attention = FlashInferAttention(engine)
        self.pool = KvPool([SHAPE], PAGES, PAGE, dtype, torch.device(device))
        for kept in (*self.pool.keys, *self.pool.values):
            kept.fill_(float("nan"))
        self.positions = np.full((PAGES + 1) * PAGE, -1)
        self._draw = torch.Generator().manual_seed(0)

    def run(self, spans: Sequence[Span], flavour: Flavour = PLAIN, ordered: bool = False) -> None:
        """One pass."""
        pool = self.pool
        step = build_step(self.attention, spans, PAGE, pool.positions.device, ordered=ordered)
        step.orders = step.positions if ordered else None
        step.place(pool)
        query, key, value = (
            torch.randn(step.count + 2, heads, 64, generator=self._draw).to(pool.positions.device, pool.dtype)
            for heads in (HEADS, 2, 2)
        )
        pool.write(0, step.slots, key, value)
        out = step.plan.attend(pool, 0, query, key, value, flavour)
        assert out.shape == query.shape
        at = 0
        for span in spans:
            self.positions[list(span.slots)] = span.positions
            for row in range(len(span.slots)):
                exact = self._exact(span, row, query[at], flavour)
                bound = BOUNDS[pool.dtype] * max(1.0, exact.abs().max().item())
                assert (out[at].double() - exact).abs().max() < bound, (span, row)
                at += 1

    def _exact(self, span: Span, row: int, query: Tensor, flavour: Flavour) -> Tensor:
        held = [
            page * PAGE + offset
            for page, live in zip(span.pages, span.live, strict=True)
            for offset in range(PAGE)
            if live >> offset & 1
        ]
        slots, own = np.array([*held, *span.slots]), span.positions[row]
        behind = own - self.positions[slots]
        seen = behind >= 0 if flavour.window is None else (behind >= 0) & (behind < flavour.window)
        slots = slots[seen if span.mask is None else span.mask[row]]
        if not len(slots):
            return torch.zeros(HEADS, 64, dtype=torch.float64, device=query.device)
        key, value = (kept[0][slots].double().repeat_interleave(2, 1) for kept in (self.pool.keys, self.pool.values))
        scores = torch.einsum("hw,khw->hk", query.double(), key) * (flavour.scale or 64**-0.5)
        if flavour.softcap is not None:
            scores = torch.tanh(scores / flavour.softcap) * flavour.softcap
        if flavour.sinks is not None:
            scores = torch.cat([scores, flavour.sinks.double()[:, None]], 1)
        return torch.einsum("hk,khw->hw", scores.softmax(1)[:, : len(slots)], value)


def sequence(pages: Sequence[int], context: int, new: int, start: int = 0) -> Span:
    """New tokens behind a context that fills these pages in order, from position `start` on."""
    held = -(-context // PAGE)
    live = [(1 << min(PAGE, context - PAGE * place)) - 1 for place in range(held)]
    slots = [pages[at // PAGE] * PAGE + at % PAGE for at in range(context, context + new)]
    return Span(pages[:held], live, slots, range(start + context, start + context + new))


def any_passes(served: Served, seed: int, windows: Sequence[int | None]) -> None:
    """A few passes of calls of any kind, over pages of each other and copies of their tokens."""
    draw = random.Random(seed)
    free, held = list(range(PAGES)), []
    draw.shuffle(free)
    served.pool.keep_ledger()
    for _ in range(6):
        spans = [_any_call(draw, free, held) for _ in range(draw.randint(1, 4))]
        served.run(spans, Flavour(window=draw.choice(windows)))
        for span in spans:
            held += [(page, span.slots) for page in dict.fromkeys(slot // PAGE for slot in span.slots)]
        if draw.random() < 0.5:
            source = draw.choice([slot for slot in range(PAGES * PAGE) if served.positions[slot] >= 0])
            target = free.pop() * PAGE
            served.pool.copy([source], [target])
            served.positions[target] = served.positions[source]
            held.append((target // PAGE, [target]))


def _any_call(draw: random.Random, free: list[int], held: list[Any]) -> Span:
    """New tokens on pages of their own, behind some pages of those that were written, with or without a mask."""
    context: dict[int, int] = {}
    for page, slots in draw.sample(held, min(len(held), draw.randint(0, 3))):
        bits = sum(1 << slot % PAGE for slot in slots if slot // PAGE == page)
        context[page] = bits & (draw.getrandbits(PAGE) if draw.random() < 0.3 else WHOLE)
    count = draw.choice((1, 1, 3, 11))
    pages = [free.pop() for _ in range(-(-count // PAGE))]
    slots = [pages[at // PAGE] * PAGE + at % PAGE for at in range(count)]
    start = draw.randint(0, 20)
    positions = [start + at for at in range(count)]
    if draw.random() < 0.2:
        draw.shuffle(positions)
    mask = None
    if draw.random() < 0.3:
        shape = (count, sum(bits.bit_count() for bits in context.values()) + count)
        mask = np.random.default_rng(draw.randrange(99)).random(shape) < 0.6
    return Span([*context], [*context.values()], slots, positions, mask)
