"""Which pages of a tile are plain, and which none of its rows sees: found once for a pass, not in every layer.

A page is plain where every row of the tile sees every slot of it: then `attend` asks neither for positions nor for
bits. Of a tile's entries, in which pages mostly stand in the order of their positions, those in front may lie outside
of every row's window, those behind may come after every row, and the longest run of plain ones lies in between.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from pie_backend_triton.ops.following import follow, following

FIELDS = tl.constexpr(6)  # of a tile, see `tiles.FIELDS`
BOUNDS = 4  # of a tile, in entries of it: first that is seen, first and end of the plain run, end of what is seen
AT_ONCE = 64  # entries
FAR = tl.constexpr(1 << 60)  # beyond every position


@triton.jit
def survey_kernel(
    asked,
    shown,
    rows,
    entries,
    tiles,
    bounds,
    window,
    ROWS: tl.constexpr,
    PAGE: tl.constexpr,
    AT_ONCE: tl.constexpr,
    WINDOWED: tl.constexpr,
    FOLLOWS: tl.constexpr,
):
    """See `survey`. One program for a tile, which has at most ROWS rows."""
    tile = tiles + tl.program_id(0) * FIELDS
    first_row = tl.load(tile)
    row_count = tl.load(tile + 1)
    first_entry = tl.load(tile + 2)
    entry_count = tl.load(tile + 3).to(tl.int32)
    place = tl.arange(0, ROWS)
    real = place < row_count
    row = tl.load(rows + first_row + place, mask=real, other=0)
    follow(FOLLOWS)
    if row_count == 0:
        return
    at = tl.load(asked + row, mask=real, other=0)
    lowest = tl.min(tl.where(real, at, FAR), 0)
    highest = tl.max(tl.where(real, at, -FAR), 0)

    offset = tl.arange(0, PAGE)
    seen_first = entry_count
    seen_end = 0
    broken = -1  # the last entry before that was not plain
    run = 0
    run_end = 0
    for start in range(0, entry_count, AT_ONCE):
        index = start + tl.arange(0, AT_ONCE)
        there = index < entry_count
        entry = tl.load(entries + first_entry + index, mask=there, other=0)
        live = ((entry[:, None] >> offset[None, :]) & 1) != 0
        stands = tl.load(shown + (entry[:, None] >> 32) * PAGE + offset[None, :], mask=live, other=0)
        oldest = tl.min(tl.where(live, stands, FAR), 1)
        newest = tl.max(tl.where(live, stands, -FAR), 1)
        seen = there & (oldest <= highest)
        plain = there & (tl.sum(live.to(tl.int32), 1) == PAGE) & (newest <= lowest)
        if WINDOWED:
            seen = seen & (lowest - newest < window)
            plain = plain & (highest - oldest < window)
        seen_first = tl.minimum(seen_first, tl.min(tl.where(seen, index, entry_count), 0))
        seen_end = tl.maximum(seen_end, tl.max(tl.where(seen, index + 1, 0), 0))
        gap = tl.maximum(tl.associative_scan(tl.where(plain, -1, index), 0, _larger), broken)
        length = index - gap
        longest = tl.max(length, 0)
        end = tl.max(tl.where(length == longest, index + 1, 0), 0)
        run_end = tl.where(longest > run, end, run_end)
        run = tl.maximum(longest, run)
        broken = tl.max(gap, 0)
    bound = bounds + tl.program_id(0) * 4
    tl.store(bound, tl.minimum(seen_first, seen_end))
    tl.store(bound + 1, tl.where(run == 0, seen_end, run_end - run))
    tl.store(bound + 2, tl.where(run == 0, seen_end, run_end))
    tl.store(bound + 3, seen_end)


@triton.jit
def _larger(one, other):
    return tl.maximum(one, other)


def survey(
    asked: Tensor,
    shown: Tensor,
    rows: Tensor,
    entries: Tensor,
    tiles: Tensor,
    bounds: Tensor,
    *,
    tallest: int,
    page_size: int,
    window: int | None,
) -> None:
    """Write bounds [n, 4], int32, of tiles [n, 6]: see `BOUNDS`. All else is as `attend` takes it.

    Rows see by positions and `window`; of tiles with explicit masks the bounds say nothing. tallest: rows that a tile
    has at the most.
    """
    survey_kernel[(tiles.shape[0],)](
        asked,
        shown,
        rows,
        entries,
        tiles,
        bounds,
        0 if window is None else window,
        ROWS=triton.next_power_of_2(tallest),
        PAGE=page_size,
        AT_ONCE=AT_ONCE,
        WINDOWED=window is not None,
        **following(bounds.device),
    )
