"""Tiles of decode steps, cut over all calls at once, are those that are cut call by call."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pie_backend_torch.building import Ints, Span
from pie_backend_triton.decoding import tile_steps
from pie_backend_triton.tiles import Cutting, Tiling, tile

SIZE = 16
PADDING: tuple[int, int] = (0, 0)
BRANCH = st.tuples(st.integers(0, 2), st.integers(0, 12))  # which prefix, and how many pages of it
CALLS = st.lists(st.one_of(st.just(PADDING), BRANCH), min_size=1, max_size=24)


def spans_of(calls: list[tuple[int, int]], own: int) -> list[Span]:
    """Branches of three long prefixes, each with pages of its own, and padding."""
    spans = []
    for call, (prefix, depth) in enumerate(calls):
        if (prefix, depth) == PADDING:
            spans.append(Span([], [], [9999 * SIZE], [0]))
            continue
        mine = [1000 + 20 * call + at for at in range((own + call) % 9)]
        pages = [100 * prefix + at for at in range(depth)] + mine
        spans.append(Span(pages, [(1 << SIZE) - 1] * len(pages), [(1000 + 20 * call + 19) * SIZE + 3], [500]))
    return spans


def entries_of(span: Span) -> Ints:
    (slot,) = span.slots
    pairs = [*zip(span.pages, span.live, strict=True), (slot // SIZE, 1 << slot % SIZE)]
    return np.array([page << 32 | bits for page, bits in pairs])


def plain(tiling: Tiling) -> object:
    """Arrays as lists, to be compared."""
    return [
        [(one.height, one.masked, one.tiles.tolist()) for one in value]
        if field.name == "launches"
        else np.asarray(value).tolist()
        for field in dataclasses.fields(tiling)
        for value in [getattr(tiling, field.name)]
    ]


@pytest.mark.parametrize("group", [1, 4, 24])
@settings(max_examples=60, deadline=None)
@given(
    calls=CALLS,
    own=st.integers(0, 8),
    programs=st.sampled_from([1, 8, 64]),
    least=st.sampled_from([16, 64, 128]),
    room=st.sampled_from([8, 1 << 12]),
)
def test_tiles_of_steps_are_those_of_any_calls(
    group: int, calls: list[tuple[int, int]], own: int, programs: int, least: int, room: int
) -> None:
    cutting = Cutting(group, 2, SIZE, programs, least_shared=least, least_split=32)
    cutting = cutting.for_calls(24).for_few(room)
    spans = spans_of(calls, own)
    assert plain(tile_steps([entries_of(span) for span in spans], cutting)) == plain(tile(spans, cutting))
