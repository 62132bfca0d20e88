"""Attention of single tokens over few pages is what it is by its definition: the kernel for a step of few programs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pie_backend_torch.kernels import Room
from pie_backend_triton.tiles import Cutting

from .test_attention import SHAPES, attended, forks
from .worlds import World

pytestmark = pytest.mark.usefixtures("poison")

ROOMY = 4000  # programs, so that all that a test looks at is little


def steps(world: World) -> None:
    """Decode steps: over contexts with holes, a short one, one of several tiles, none."""
    world.call(world.chain(45, holes=0.3), 45, 1)
    world.call(world.chain(5), 5, 1)
    world.call(world.chain(300, holes=0.1), 300, 1)
    world.call([], 0, 1)
    world.call(world.chain(127), 127, 1)


@pytest.mark.parametrize(("shape", "window"), [*zip(SHAPES, (None, 33, None, 1), strict=True), (SHAPES[0], 1)], ids=str)
def test_steps_of_single_tokens(shape: Any, window: int | None) -> None:
    world = World(*shape, torch.float32)
    steps(world)
    attended(world, window, programs=ROOMY)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_steps_in_half_precision(dtype: torch.dtype) -> None:
    world = World(8, 2, 64, 16, dtype)
    steps(world)
    attended(world, programs=ROOMY)


@pytest.mark.parametrize("branches", [3, 9])
@pytest.mark.parametrize("few", [32, 128])
def test_steps_of_branches_that_share_a_prefix_in_tiles_of_any_length(branches: int, few: int) -> None:
    world = World(8, 2, 64, 16, torch.float32)
    forks(world, 160, branches)
    attended(world, programs=ROOMY, few=few, room=Room(calls=12, entries=256))


@pytest.mark.parametrize("window", [None, 24])
def test_steps_that_ask_before_the_end_of_what_they_share(window: int | None) -> None:
    world = World(8, 2, 64, 16, torch.float32)
    prefix = world.chain(160)
    for asked in (160, 100, 30):
        world.call(prefix, asked, 1)
    attended(world, window, programs=ROOMY)


def test_what_is_little_is_cut_for_it_and_nothing_else() -> None:
    cutting = Cutting(4, 8, 16, programs=264)
    assert cutting.for_few(264).chunk == 8
    assert cutting.for_few(265).chunk is None
