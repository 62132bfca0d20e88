"""Attention over the pool by tiles: planned once for a pass, launched for each layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pie_backend_torch.building import Ints, KvPool, Span, Step
from pie_backend_torch.kernels import Flavour, Room
from torch import Tensor

from pie_backend_triton.decoding import tile_steps
from pie_backend_triton.fixed import fitted
from pie_backend_triton.ops.attend import attend
from pie_backend_triton.ops.attend_one import attend_one
from pie_backend_triton.ops.merge import merge
from pie_backend_triton.ops.survey import BOUNDS, survey
from pie_backend_triton.tables import SHIFT
from pie_backend_triton.tiles import FIELDS, HEIGHTS, Cutting, Tiling, tile


class TileAttention:
    """See `kernels.Attention` and `kernels.PlansSteps`."""

    def __init__(self, cutting: Cutting) -> None:
        self._cutting = cutting
        self._of_steps: dict[Room, Cutting] = {}

    def plan(self, spans: Sequence[Span], page_size: int, ordered: bool) -> TilePlan:
        assert page_size == self._cutting.page_size
        cutting = self._cutting
        if all(len(span.slots) == 1 and span.mask is None for span in spans):
            cutting = cutting.for_few(sum(len(span.pages) + 1 for span in spans))
        return TilePlan(tile(spans, cutting, ordered), page_size, None if cutting.chunk is None else cutting.few)

    def look(self, pages: Ints, live: Ints, slot: int, position: int) -> Ints:
        return pages << SHIFT | live

    def plan_steps(self, looks: Sequence[Ints], room: Room) -> TilePlan:
        cutting = self._of_steps.get(room)
        if cutting is None:
            cutting = self._of_steps[room] = self._cutting.for_calls(room.calls).for_few(room.entries)
        tiling = fitted(tile_steps(looks, cutting), room, cutting)
        return TilePlan(tiling, cutting.page_size, None if cutting.chunk is None else cutting.few)


class TilePlan:
    """See `kernels.AttentionPlan`. few: tokens of the lowest tiles, where `attend_one` takes them."""

    def __init__(self, tiling: Tiling, page_size: int, few: int | None) -> None:
        self._tiling = tiling
        self._page_size = page_size
        self._few = few
        self._tensors: Sequence[Tensor] = ()
        self._asked: Tensor | None = None
        self._bounds: dict[int | None, Tensor] = {}  # by window: what each tile's rows see, found by its first layer

    @property
    def arrays(self) -> Sequence[Ints]:
        one = self._tiling
        tiles = [launch.tiles.reshape(-1) for launch in one.launches]
        joined = tiles[0] if len(tiles) == 1 else np.concatenate(tiles)
        shared = [one.rows, one.entries, one.words, one.word_starts, one.merged, one.merge_starts, one.merge_parts]
        return [*shared, joined]

    def receive(self, tensors: Sequence[Tensor], device: torch.device) -> None:
        self._tensors = tensors

    def place(self, step: Step, pool: KvPool) -> None:
        self._asked = step.positions if step.orders is None else step.orders
        self._bounds = {}

    def attend(self, pool: KvPool, layer: int, query: Tensor, key: Tensor, value: Tensor, flavour: Flavour) -> Tensor:
        keys, values = pool.keys[layer], pool.values[layer]
        rows, entries, words, word_starts, merged, merge_starts, merge_parts, _ = self._tensors
        shown = pool.positions if pool.orders is None else pool.orders
        out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
        # anew for each layer, so that captured passes, which run in turn, share the memory
        parts = torch.empty(max(1, self._tiling.parts), *query.shape[1:], dtype=torch.float32, device=query.device)
        sums = torch.empty(parts.shape[:2], dtype=torch.float32, device=query.device)
        scale = query.shape[2] ** -0.5 if flavour.scale is None else flavour.scale
        assert self._asked is not None
        looked_at, left = (query, keys, values, self._asked, shown, rows, entries), (out, parts, sums)
        start = 0
        for launch in self._tiling.launches:
            tiles, start = slice(start, start + len(launch.tiles)), start + len(launch.tiles)
            if self._few is not None and launch.height == HEIGHTS[0]:
                attend_one(
                    *looked_at,
                    self._tiles[tiles],
                    *left,
                    height=launch.height,
                    page_size=self._page_size,
                    most=self._few,
                    window=flavour.window,
                    scale=scale,
                )
            else:
                attend(
                    *looked_at,
                    words,
                    word_starts,
                    self._tiles[tiles],
                    self._seen(shown, flavour.window)[tiles],
                    *left,
                    height=launch.height,
                    page_size=self._page_size,
                    masked=launch.masked,
                    window=flavour.window,
                    scale=scale,
                )
        if len(self._tiling.merged):
            merge(merged, merge_starts, merge_parts, parts, sums, out)
        return out

    @property
    def _tiles(self) -> Tensor:
        """All tiles [n, FIELDS], in the order of the launches."""
        return self._tensors[-1].view(-1, FIELDS)

    def _seen(self, shown: Tensor, window: int | None) -> Tensor:
        """Bounds of all tiles in a window [n, BOUNDS]."""
        found = self._bounds.get(window)
        if found is None:
            assert self._asked is not None
            rows, entries, *_ = self._tensors
            found = torch.empty(len(self._tiles), BOUNDS, dtype=torch.int32, device=shown.device)
            survey(
                self._asked,
                shown,
                rows,
                entries,
                self._tiles,
                found,
                tallest=max(launch.height for launch in self._tiling.launches),
                page_size=self._page_size,
                window=window,
            )
            self._bounds[window] = found
        return found
