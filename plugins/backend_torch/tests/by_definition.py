"""FlashInfer's documented meaning (tables of pages, causality by place, window, packed masks), row by row in float64.

It stands in for the library where there is no GPU, so that what is planned for it is computed as it was planned.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from pie_backend_torch.flash.tables import Tables, Variant
from torch import Tensor


@dataclass
class ByDefinition:
    """An engine (`flash.tables.Engine`). `planned` is what it was given, of the last pass."""

    planned: list[Tables] = field(default_factory=list)

    def begin(self) -> None:
        self.planned = []

    def plan(self, tables: Tables, variant: Variant, mask: Tensor | None) -> Run:
        self.planned.append(tables)
        return Run(tables, variant, mask)

    def merge(self, out: Tensor, weight: Tensor, other: Tensor, other_weight: Tensor) -> None:
        total = torch.logaddexp2(weight, other_weight)
        shares = [torch.exp2(one - total)[..., None] for one in (weight, other_weight)]
        out.copy_(out * shares[0] + other * shares[1])


@dataclass
class Run:
    """A launch (`flash.tables.Launch`)."""

    tables: Tables
    variant: Variant
    mask: Tensor | None

    def run(self, query: Tensor, keys: Tensor, values: Tensor, out: Tensor, weigh: bool) -> Tensor | None:
        assert keys.shape[1:] == (self.tables.size, self.variant.kv_heads, self.variant.width)
        assert query.shape[1:] == (self.variant.heads, self.variant.width) and len(query) == self.tables.queries[-1]
        weights = torch.full(query.shape[:2], float("nan"))
        bits_before = 0
        for call in range(len(self.tables.lasts)):
            rows = range(self.tables.queries[call], self.tables.queries[call + 1])
            table = self.tables.pages[self.tables.starts[call] : self.tables.starts[call + 1]].tolist()
            length = (len(table) - 1) * self.tables.size + int(self.tables.lasts[call])
            key, value = (kept[table].flatten(0, 1)[:length].double() for kept in (keys, values))
            seen = self._seen(len(rows), length, bits_before)
            bits_before += len(rows) * length
            out[rows.start : rows.stop], weights[rows.start : rows.stop] = self._attend(
                query[rows.start : rows.stop].double(), key, value, seen
            )
        return weights if weigh else None

    def _seen(self, count: int, length: int, bits_before: int) -> Tensor:
        place, row = torch.arange(length), torch.arange(count)[:, None] + length - count
        if self.mask is not None:
            assert self.variant.window is None and not self.tables.causal
            bit = torch.arange(count)[:, None] * length + place
            return ((self.mask[bits_before + bit // 8] >> (bit % 8)) & 1).bool()
        seen = place <= row if self.tables.causal else torch.ones(count, length, dtype=torch.bool)
        return seen if self.variant.window is None else seen & (row - place < self.variant.window)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        folds = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(folds, 1), value.repeat_interleave(folds, 1)
        scale = self.variant.width**-0.5 if self.variant.scale is None else self.variant.scale
        scores = torch.einsum("qhw,khw->qhk", query, key) * scale
        if self.variant.softcap is not None:
            scores = torch.tanh(scores / self.variant.softcap) * self.variant.softcap
        scores = scores.masked_fill(~seen[:, None], float("-inf"))
        weights = torch.logsumexp(scores, -1) / torch.log(torch.tensor(2.0))
        return torch.einsum("qhk,khw->qhw", scores.softmax(-1), value), weights.float()
