"""Random batches of forward calls over a pool of which only what was written is sound, and what each must attend to."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from pie_backend_torch.building import KvPool, LayerShape, Span

from .conftest import DEVICE


@dataclass
class World:
    """A pool, the calls of a batch, and the context slots of each call in order."""

    heads: int
    kv_heads: int
    width: int
    page_size: int
    dtype: torch.dtype
    pages: int = 400
    seed: int = 0
    spans: list[Span] = field(default_factory=list)
    contexts: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        torch.manual_seed(self.seed)
        shape = LayerShape(self.kv_heads, self.width, self.width)
        self.pool = KvPool([shape], self.pages, self.page_size, self.dtype, DEVICE)
        for tensor in (self.pool.keys[0], self.pool.values[0]):
            tensor.fill_(float("nan"))
        self.free = self.random.sample(range(self.pages), self.pages)

    def chain(self, tokens: int, start: int = 0, holes: float = 0.0) -> list[tuple[int, int]]:
        """Fresh pages that hold `tokens` tokens from position `start` on, as (page, live bits); some hidden."""
        made = []
        for first in range(0, tokens, self.page_size):
            page, count = self.free.pop(), min(self.page_size, tokens - first)
            slots = torch.arange(count) + page * self.page_size
            self._fill(slots, torch.arange(count) + start + first)
            bits = (1 << count) - 1
            for offset in range(count):
                if self.random.random() < holes:
                    bits &= ~(1 << offset)
            made.append((page, bits))
        return made

    def call(self, context: list[tuple[int, int]], start: int, new: int, mask: float | None = None) -> None:
        """`new` tokens from position `start` on after a context; `mask`: the share that an explicit mask shows."""
        size = self.page_size
        room: list[int] = []
        if context and context[-1][1].bit_count() < size and context[-1][1].bit_length() < size:
            page, bits = context[-1]
            if not any(page in span.pages for span in self.spans):  # nobody else's
                room = list(range(page * size + bits.bit_length(), (page + 1) * size))
        while len(room) < new:
            page = self.free.pop()
            room += range(page * size, (page + 1) * size)
        slots = room[:new]
        live = [page * size + offset for page, bits in context for offset in range(size) if bits >> offset & 1]
        shown = None
        if mask is not None:
            shown = np.array([[self.random.random() < mask for _ in range(len(live) + new)] for _ in range(new)])
        self.spans.append(
            Span([p for p, _ in context], [b for _, b in context], slots, range(start, start + new), shown)
        )
        self.contexts.append(live)

    def new_tokens(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries of all calls; keys and values are written to the pool, and returned."""
        slots = torch.tensor([slot for span in self.spans for slot in span.slots])
        self._fill(slots, torch.tensor([at for span in self.spans for at in span.positions]))
        query = torch.randn(len(slots), self.heads, self.width).to(DEVICE, self.dtype)
        where = slots.to(DEVICE)
        return query, self.pool.keys[0][where], self.pool.values[0][where]

    def spoil(self, window: int | None) -> None:
        """Let keys and values that nobody of the batch may see be NaN."""
        unseen = torch.ones(len(self.pool.positions), dtype=torch.bool)
        for span, live in zip(self.spans, self.contexts, strict=True):
            slots = torch.tensor([*live, *span.slots])
            unseen[slots[self._sees(span, slots, window).any(0).cpu()]] = False
        for tensor in (self.pool.keys[0], self.pool.values[0]):
            tensor[unseen.to(DEVICE)] = float("nan")

    def defined(self, query: torch.Tensor, window: int | None = None) -> torch.Tensor:
        """What attention is by its definition, in float64: [rows, heads, width]."""
        return torch.cat(list(self._each(query, window)))

    def _each(self, query: torch.Tensor, window: int | None) -> Iterator[torch.Tensor]:
        at = 0
        for span, live in zip(self.spans, self.contexts, strict=True):
            slots = torch.tensor([*live, *span.slots]).to(DEVICE)
            key, value = (
                tensor[0][slots].double().repeat_interleave(self.heads // self.kv_heads, 1)
                for tensor in (self.pool.keys, self.pool.values)
            )
            key, value = key.nan_to_num(0.0), value.nan_to_num(0.0)  # of slots that nobody sees
            seen = self._sees(span, slots, window)
            mine = query[at : at + len(span.slots)].double()
            scores = torch.einsum("qhw,khw->hqk", mine, key) * self.width**-0.5
            weights = scores.masked_fill(~seen, float("-inf")).softmax(-1).nan_to_num(0.0)  # blind rows get zeros
            yield torch.einsum("hqk,khw->qhw", weights, value)
            at += len(span.slots)

    def _sees(self, span: Span, slots: torch.Tensor, window: int | None) -> torch.Tensor:
        """Which of its slots each token of a call sees, [tokens, slots]."""
        if span.mask is not None:
            return torch.from_numpy(span.mask).to(DEVICE)
        stands = self.pool.positions[slots.to(DEVICE)]
        asked = torch.tensor(list(span.positions)).to(DEVICE)
        before = asked[:, None] - stands[None]
        return (before >= 0) & (before < (1 << 40 if window is None else window))

    def _fill(self, slots: torch.Tensor, positions: torch.Tensor) -> None:
        slots = slots.to(DEVICE)
        for tensor in (self.pool.keys[0], self.pool.values[0]):
            tensor[slots] = torch.randn(len(slots), self.kv_heads, self.width).to(DEVICE, self.dtype)
        self.pool.positions[slots] = positions.to(DEVICE)
