"""A survey finds what a tile's rows see of its pages. Oracle: the definition, page by page in Python."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import pytest
import torch
from pie_backend_torch.building import build_step
from pie_backend_torch.kernels import Flavour
from pie_backend_triton.attention import TileAttention
from pie_backend_triton.tiles import Cutting

from .conftest import DEVICE
from .worlds import World

pytestmark = pytest.mark.usefixtures("poison")


def surveyed(world: World, window: int | None, **cut: Any) -> Any:
    """Each tile's rows and entries by their positions, and the four numbers that were found of it."""
    cutting = Cutting(world.heads // world.kv_heads, world.kv_heads, world.page_size, 16, **cut)
    query, key, value = world.new_tokens()
    step = build_step(TileAttention(cutting), world.spans, world.page_size, DEVICE)
    step.place(world.pool)
    step.plan.attend(world.pool, 0, query, key, value, Flavour(window=window))
    tiling = step.plan._tiling
    asked = np.concatenate([list(span.positions) for span in world.spans])
    tiles = np.concatenate([launch.tiles for launch in tiling.launches])
    for tile, bounds in zip(tiles.tolist(), step.plan._bounds[window].tolist(), strict=True):
        first_row, rows, first, count, *_ = tile
        pages = [stands(world, int(entry)) for entry in tiling.entries[first : first + count]]
        yield asked[tiling.rows[first_row : first_row + rows]].tolist(), pages, bounds


def stands(world: World, entry: int) -> list[int | None]:
    """Positions of a page's slots; None where nobody may look."""
    size, page = world.page_size, entry >> 32
    positions = world.pool.positions[page * size : page * size + size].tolist()
    return [at if entry >> offset & 1 else None for offset, at in enumerate(positions)]


def check(world: World, window: int | None, **cut: Any) -> int:
    """How many plain pages there are."""
    found = 0
    for rows, pages, (first, plain, plain_end, end) in surveyed(world, window, **cut):
        sees = [
            [[at is not None and 0 <= row - at < (window or 1 << 40) for at in page] for row in rows] for page in pages
        ]
        seen = [index for index, page in enumerate(sees) if any(map(any, page))]
        whole = [all(map(all, page)) for page in sees]
        runs = [len(list(run)) for is_whole, run in groupby(whole) if is_whole]
        assert first <= plain <= plain_end <= end
        assert all(whole[plain:plain_end]) and plain_end - plain == max(runs, default=0)
        if seen and len(set(rows)) == 1:
            assert (first, end) == (seen[0], seen[-1] + 1)
        else:  # rows that are far from each other see what is at one end of a window each, and nothing in between
            assert not seen or (first <= seen[0] and seen[-1] < end)
        found += plain_end - plain
    return found


@pytest.mark.parametrize("window", [None, 1, 700])
def test_a_long_context(window: int | None) -> None:
    world = World(8, 2, 64, 8, torch.float32, pages=800)
    prefix = world.chain(1200)
    prefix[100] = (prefix[100][0], 0b1101_1111)
    for asked in (1200, 640, 5):
        world.call(prefix, asked, 1)
    world.call([*prefix[70:], *prefix[:70]], 1201, 1)
    found = check(world, window, least_split=1 << 20)
    assert (found > 0) == (window is None or window > 1)


@pytest.mark.parametrize("window", [None, 24])
def test_a_batch_of_everything(window: int | None) -> None:
    world = World(6, 2, 64, 8, torch.float32)
    shared = world.chain(160)
    for branch in range(5):
        world.call([*shared, *world.chain(branch, 160)], 160 + branch, 1)
    world.call([], 0, 37)
    world.call(world.chain(45, holes=0.1), 45, 9)
    world.call(world.chain(60)[::-1], 60, 3)
    assert check(world, window, least_shared=24, least_split=48) > 0
