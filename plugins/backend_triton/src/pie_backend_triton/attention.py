"""Attention over the pool by tiles: planned once for a pass, launched for each layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pie_backend_torch.building import Ints, KvPool, Span, Step
from pie_backend_torch.kernels import Flavour, Room
from torch import Tensor

from pie_backend_triton.fixed import fitted
from pie_backend_triton.ops.attend import attend
from pie_backend_triton.ops.merge import merge
from pie_backend_triton.tiles import Cutting, Tiling, tile


class TileAttention:
    """See `kernels.Attention`."""

    capturable = True

    def __init__(self, cutting: Cutting) -> None:
        self._cutting = cutting

    def plan(self, spans: Sequence[Span], page_size: int, ordered: bool, room: Room | None = None) -> TilePlan:
        assert page_size == self._cutting.page_size
        tiling = tile(spans, self._cutting, ordered)
        return TilePlan(tiling if room is None else fitted(tiling, room, self._cutting), page_size)


class TilePlan:
    """See `kernels.AttentionPlan`."""

    def __init__(self, tiling: Tiling, page_size: int) -> None:
        self._tiling = tiling
        self._page_size = page_size
        self._tensors: Sequence[Tensor] = ()
        self._asked: Tensor | None = None

    @property
    def arrays(self) -> Sequence[Ints]:
        one = self._tiling
        shared = [one.rows, one.entries, one.words, one.word_starts, one.merged, one.merge_starts, one.merge_parts]
        return [*shared, *(launch.tiles.reshape(-1) for launch in one.launches)]

    def receive(self, tensors: Sequence[Tensor], device: torch.device) -> None:
        self._tensors = tensors

    def place(self, step: Step, pool: KvPool) -> None:
        self._asked = step.positions if step.orders is None else step.orders

    def attend(self, pool: KvPool, layer: int, query: Tensor, key: Tensor, value: Tensor, flavour: Flavour) -> Tensor:
        keys, values = pool.keys[layer], pool.values[layer]
        rows, entries, words, word_starts, merged, merge_starts, merge_parts, *launches = self._tensors
        shown = pool.positions if pool.orders is None else pool.orders
        out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
        # anew for each layer, so that captured passes, which run in turn, share the memory
        parts = torch.empty(max(1, self._tiling.parts), *query.shape[1:], dtype=torch.float32, device=query.device)
        sums = torch.empty(parts.shape[:2], dtype=torch.float32, device=query.device)
        assert self._asked is not None
        for launch, tiles in zip(self._tiling.launches, launches, strict=True):
            attend(
                query,
                keys,
                values,
                self._asked,
                shown,
                rows,
                entries,
                words,
                word_starts,
                tiles.view(launch.tiles.shape),
                out,
                parts,
                sums,
                height=launch.height,
                page_size=self._page_size,
                masked=launch.masked,
                window=flavour.window,
                scale=query.shape[2] ** -0.5 if flavour.scale is None else flavour.scale,
            )
        if len(self._tiling.merged):
            merge(merged, merge_starts, merge_parts, parts, sums, out)
        return out
