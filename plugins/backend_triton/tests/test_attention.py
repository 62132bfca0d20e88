"""Attention over tiles is what its definition says, for any mix of calls. Oracle: float64, slot by slot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pie_backend_torch.building import build_step
from pie_backend_torch.kernels import Flavour, Room
from pie_backend_triton.attention import TileAttention, TilePlan
from pie_backend_triton.tiles import Cutting

from .conftest import BOUNDS, DEVICE, worst
from .worlds import World

SHAPES = [  # heads, kv heads, width, page size
    (8, 2, 64, 16),
    (6, 2, 64, 8),
    (3, 3, 96, 16),
    (4, 1, 128, 32),
]


def attended(world: World, window: int | None = None, room: Room | None = None, **cut: Any) -> torch.Tensor:
    """What the kernels make of a world's calls, over outputs and a pool that are NaN but for what somebody sees."""
    defaults = {"programs": 16, "least_shared": 24, "least_split": 48}
    cutting = Cutting(world.heads // world.kv_heads, world.kv_heads, world.page_size, **defaults | cut)
    query, key, value = world.new_tokens()
    world.spoil(window)
    step = build_step(TileAttention(cutting), world.spans, world.page_size, DEVICE)
    if room is not None:
        step.plan = steps_planned(world, cutting, room)
        step.plan.receive([torch.from_numpy(array).to(DEVICE) for array in step.plan.arrays], DEVICE)
    step.place(world.pool)
    out = step.plan.attend(world.pool, 0, query, key, value, Flavour(window=window))
    assert worst(out, world.defined(query, window)) < BOUNDS[world.dtype]
    return out


def steps_planned(world: World, cutting: Cutting, room: Room) -> TilePlan:
    """Of calls of one token each."""
    attention, looks = TileAttention(cutting), []
    for span in world.spans:
        (slot,), (position,) = span.slots, span.positions
        page, offset = divmod(slot, world.page_size)
        live = dict(zip(span.pages, span.live, strict=True))
        live[page] = live.get(page, 0) | 1 << offset
        looks.append(attention.look(np.array(list(live)), np.array(list(live.values())), slot, position))
    return attention.plan_steps(looks, room)


def mixed(world: World) -> None:
    """Prefills, a chunk behind a context with holes, decode steps over short and long contexts."""
    world.call([], 0, 37)
    world.call(world.chain(45, holes=0.3), 45, 9)
    world.call(world.chain(150), 150, 1)
    world.call(world.chain(5), 5, 1)
    world.call([], 0, 1)


pytestmark = pytest.mark.usefixtures("poison")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("window", [None, 24])
def test_a_ragged_batch_of_prefills_chunks_and_decode_steps(shape: Any, window: int | None) -> None:
    world = World(*shape, torch.float32)
    mixed(world)
    attended(world, window)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_in_half_precision(dtype: torch.dtype) -> None:
    world = World(8, 2, 64, 16, dtype)
    mixed(world)
    attended(world)


@pytest.mark.parametrize("page_size", [8, 32])
def test_an_explicit_mask_replaces_causality_and_window_and_a_blind_row_gets_zeros(page_size: int) -> None:
    world = World(8, 2, 64, page_size, torch.float32)
    world.call(world.chain(60, holes=0.2), 60, 5, mask=0.4)
    world.call(world.chain(140), 140, 2, mask=0.0)
    world.call(world.chain(140), 140, 1)
    world.call([], 0, 19, mask=0.5)
    out = attended(world, window=8)
    assert out[5:7].abs().max() == 0


def spread(world: World, file: Path) -> None:
    """Let slots be so far apart that places in the pool take 33 bits. Of the file only what is written takes room."""
    numbers = 1 << 32
    if DEVICE.type == "cpu":
        room = torch.from_file(str(file), shared=True, size=3 * numbers, dtype=world.dtype)
    else:
        room = torch.empty(3 * numbers, dtype=world.dtype, device=DEVICE)
    slots = len(world.pool.positions)
    for place, kept in enumerate((world.pool.keys, world.pool.values), 1):  # a place that wraps is before, in room too
        apart = room[place * numbers :][:numbers].view(-1, world.width)
        apart = apart[: apart.shape[0] // slots * slots].view(slots, -1, world.width)[:, : world.kv_heads]
        kept[0] = apart.fill_(float("nan"))


def test_in_a_pool_of_more_than_2_31_numbers(tmp_path: Path) -> None:
    world = World(4, 1, 64, 16, torch.float16, pages=20)
    spread(world, tmp_path / "pool")
    world.call(world.chain(75, holes=0.1), 75, 3)
    world.call(world.chain(40), 40, 2, mask=0.5)
    attended(world)


def forks(world: World, prefix: int, branches: int, new: int = 1, mask: float | None = None) -> None:
    """Branches of one context, each with some tokens of its own."""
    shared = world.chain(prefix)
    for branch in range(branches):
        own = world.chain(branch % 7, prefix)
        world.call([*shared, *own], prefix + branch % 7, new, mask)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_branches_of_a_shared_prefix(shape: Any) -> None:
    world = World(*shape, torch.float32)
    forks(world, 160, 9)
    world.call(world.chain(70), 70, 1)
    attended(world)


def test_a_tree_of_branches_of_several_tokens_with_and_without_masks_and_windows() -> None:
    world = World(8, 2, 64, 8, torch.float32, pages=600)
    trunk = world.chain(48)
    for limb in range(3):
        branch = [*trunk, *world.chain(40 + 8 * limb, 48)]
        for twig in range(3):
            end = 88 + 8 * limb
            world.call(
                [*branch, *world.chain(3 * twig, end)], end + 3 * twig, 1 + twig, mask=0.5 if limb == 2 else None
            )
    attended(world, window=50)


WINDOWS = [None, 33, 150]


@pytest.mark.parametrize("window", WINDOWS)
def test_a_hole_in_a_prefix_and_rows_asked_before_its_end(window: int | None) -> None:
    world = World(8, 2, 64, 16, torch.float32)
    prefix = world.chain(320)
    page, _ = prefix[9]
    prefix[9] = (page, 0b0111_1111_1111_1111)
    for asked in (320, 327, 100, 319, 304, 175):
        world.call(prefix, asked, 1)
    attended(world, window)


@pytest.mark.parametrize("window", WINDOWS)
def test_positions_that_do_not_rise_in_a_prefix(window: int | None) -> None:
    world = World(6, 2, 64, 8, torch.float32)
    pages = world.chain(200)
    for number, (page, _) in enumerate(pages[4:7]):  # the last of them after everybody
        world.pool.positions[page * 8 : page * 8 + 8] += 90 * number - torch.arange(8, device=DEVICE)
    world.call([*pages[12:], *pages[:12]], 200, 3)
    world.call(pages, 90, 6)
    for asked in (200, 120, 30):
        world.call(pages[::-1], asked, 1)
    attended(world, window, least_split=400)  # in one piece


def planned(world: World, **cut: Any) -> Any:
    defaults = {"programs": 16, "least_shared": 24, "least_split": 48}
    cutting = Cutting(world.heads // world.kv_heads, world.kv_heads, world.page_size, **defaults | cut)
    return TileAttention(cutting).plan(world.spans, world.page_size, False)


def test_a_shared_page_is_read_once_for_all_branches() -> None:
    world = World(8, 2, 64, 16, torch.float32)
    forks(world, 160, 16)
    plan = planned(world)
    read = sum(int(launch.tiles[:, 3].sum()) for launch in plan._tiling.launches)
    own = sum(len(span.pages) - 10 for span in world.spans)
    assert read <= 10 + own + 16  # the prefix once; of each branch what is its own, and the page of its new token


def test_a_prefill_looks_at_no_page_behind_its_own_tokens() -> None:
    world = World(8, 2, 64, 16, torch.float32)
    world.call([], 0, 160)
    tiles = planned(world, least_split=10_000, heights=(16, 64))._tiling.launches[0].tiles
    assert sorted(tiles[:, 3].tolist()) == list(range(1, 11))


@pytest.mark.parametrize("blocks", [1, 2, 4, 8, 16])
def test_few_blocks_are_cut_in_tiles_that_run_at_once_and_keep_the_device_busy(blocks: int) -> None:
    cutting = Cutting(4, 8, 16, programs=264)
    for entries in range(600, 3000, 7):
        programs = blocks * -(-entries // cutting.split([(blocks, entries)])) * 8
        assert 264 / 2 < programs <= 264


def test_a_plan_of_fixed_shape_says_the_same_in_arrays_that_depend_on_the_room_alone() -> None:
    room = Room(calls=12, entries=200)
    lengths, kinds = set(), set()
    for branches, prefix in ((9, 160), (3, 40), (1, 3)):
        world = World(8, 2, 64, 16, torch.float32, seed=branches)
        forks(world, prefix, branches)
        world.call(world.chain(70), 70, 1)
        attended(world, room=room)
        plan = steps_planned(world, Cutting(4, 2, 16, 16), room)
        lengths.add(tuple(len(array) for array in plan.arrays))
        kinds.add(tuple((launch.height, launch.masked, launch.tiles.shape) for launch in plan._tiling.launches))
    assert len(lengths) == len(kinds) == 1


def test_calls_that_do_not_fit_in_a_room_are_refused() -> None:
    for calls, tokens in ((5, 32), (2, 600)):
        world = World(8, 2, 64, 16, torch.float32)
        for _ in range(calls):
            world.call(world.chain(tokens), tokens, 1)
        with pytest.raises(ValueError, match="oom"):
            steps_planned(world, Cutting(4, 2, 16, 16), Room(calls=4, entries=60))
