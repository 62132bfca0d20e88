"""Attention of tiles over a paged pool: each program takes some query rows over some pages, of one key head.

FlashAttention-2 (Dao 2023): the softmax is kept up as keys come by, scores never leave the chip. Query heads that share
a key head are rows of one product (grouped-query attention), so that a key is read once for them. Where a row's pages
are split (Flash-Decoding, Dao et al. 2023) or shared with other rows (Hydragen, Juravsky et al. 2024), a tile leaves a
part: its own softmax's result and log-sum-exp, to be merged by `merge`.

Products accumulate in float32; of float32 they are exact products (no TF32). Weights are rounded to the pool's type
before they meet the values, as in FlashAttention. What is in slots that nobody may see, NaN even, comes to nothing.

Pages of which every row sees every slot (`survey` finds them) go through a loop that does nothing but load, multiply
and keep up the softmax; the others through one that asks for each slot who sees it.
"""

from __future__ import annotations

import math
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from pie_backend_triton.ops.following import follow, following
from pie_backend_triton.ops.paged import entries_at, gathered, leave, product, read, slots_of

FIELDS = tl.constexpr(6)  # of a tile, see `tiles.FIELDS`
FAR = tl.constexpr((1 << 31) - 1)  # a position that nobody is asked at
LOG2_E = math.log2(math.e)


@triton.jit
def attend_kernel(
    query,
    keys,
    values,
    asked,
    shown,
    rows,
    entries,
    words,
    word_starts,
    tiles,
    bounds,
    out,
    parts,
    part_sums,
    scale,
    window,
    query_row,
    query_head,
    key_slot,
    value_slot,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    WIDTH: tl.constexpr,
    LANES: tl.constexpr,
    PAGE: tl.constexpr,
    HEIGHT: tl.constexpr,
    KEYS: tl.constexpr,
    CAREFUL: tl.constexpr,
    MASKED: tl.constexpr,
    WINDOWED: tl.constexpr,
    EXACT: tl.constexpr,
    NEAR: tl.constexpr,
    AHEAD: tl.constexpr,
    CAREFUL_STAGES: tl.constexpr,
    FOLLOWS: tl.constexpr,
):
    """See `attend`. LANES: WIDTH as a power of two; EXACT: products of float32.

    KEYS and CAREFUL: slots that go through the loop of plain pages, and through the other, at a time.
    What the host planned is there before the pass: it is read before waiting for the kernel that makes queries.
    AHEAD: entries that are not plain are read before the plain pages are gone through; short tiles wait less then.
    NEAR: the numbers of a layer's keys, and of its values, can be counted in 32 bits.
    """
    kv_heads: tl.constexpr = HEADS // GROUP  # heads of a page lie side by side: they are looked at side by side
    number = tl.program_id(0) // kv_heads
    kv_head = tl.program_id(0) % kv_heads
    tile = tiles + number * FIELDS
    first_row = tl.load(tile)
    row_count = tl.load(tile + 1)
    first_entry = tl.load(tile + 2)
    entry_count = tl.load(tile + 3).to(tl.int32)
    depth = tl.load(tile + 4)
    first_part = tl.load(tile + 5)
    height = tl.arange(0, HEIGHT)
    place = height // GROUP
    real = place < row_count
    row = tl.load(rows + first_row + place, mask=real, other=0)
    follow(FOLLOWS)
    if MASKED:
        seen_first, plain_first, plain_end, seen_end = 0, 0, 0, entry_count
    else:
        bound = bounds + number * 4
        seen_first = tl.load(bound)
        plain_first = tl.load(bound + 1)
        plain_end = tl.load(bound + 2)
        seen_end = tl.load(bound + 3)
    if row_count == 0:
        return

    lane = tl.arange(0, LANES)
    head = kv_head * GROUP + height % GROUP
    within = lane < WIDTH
    filled = real[:, None] & within[None, :]
    q = tl.load(query + row[:, None] * query_row + head[:, None] * query_head + lane[None, :], mask=filled, other=0.0)

    best = tl.full([HEIGHT], float("-inf"), tl.float32)
    total = tl.zeros([HEIGHT], tl.float32)
    sums = tl.zeros([HEIGHT, LANES], tl.float32)
    step = tl.arange(0, KEYS)
    keys += kv_head * WIDTH
    values += kv_head * WIDTH
    tile_entries = entries + first_entry
    at_once: tl.constexpr = KEYS // PAGE
    plain_end = plain_first + (plain_end - plain_first) // at_once * at_once
    front = plain_first - seen_first  # entries before the plain ones
    careful = front + seen_end - plain_end
    stride = tl.arange(0, CAREFUL)
    offset = stride % PAGE
    if AHEAD:
        entry = entries_at(tile_entries, stride // PAGE, careful, front, seen_first, plain_end)
    if not MASKED:
        for first in range(plain_first, plain_end, at_once):
            slot = slots_of(tl.load(tile_entries + first + step // PAGE), step % PAGE, PAGE, NEAR)
            k = read(keys, slot, key_slot, lane, WIDTH, LANES)
            scores = product(q, tl.trans(k), EXACT)
            higher = tl.maximum(best, tl.max(scores, 1) * scale)
            weights = tl.exp2(scores * scale - higher[:, None])
            shrink = tl.exp2(best - higher)
            total = total * shrink + tl.sum(weights, 1)
            v = read(values, slot, value_slot, lane, WIDTH, LANES)
            sums = gathered(weights, v, sums * shrink[:, None], EXACT)
            best = higher

    at = tl.load(asked + row, mask=real, other=-1).to(tl.int32)
    highest = tl.max(at, 0)
    if MASKED:
        word = words + tl.load(word_starts + row, mask=real, other=0) + depth
    for start in tl.range(0, careful * PAGE, CAREFUL, num_stages=CAREFUL_STAGES):
        index = (start + stride) // PAGE
        if not AHEAD:
            entry = entries_at(tile_entries, index, careful, front, seen_first, plain_end)
        live = ((entry >> offset) & 1) != 0
        slot = slots_of(entry, offset, PAGE, NEAR)
        kept = live[:, None] & within[None, :]
        k = tl.load(keys + slot[:, None] * key_slot + lane[None, :], mask=kept, other=0.0)
        if MASKED:
            told = real[:, None] & (index < careful)[None, :]
            bits = tl.load(word[:, None] + index[None, :], mask=told, other=0)
            sees = live[None, :] & (((bits >> offset[None, :]) & 1) != 0)
            seen = tl.max(sees.to(tl.int32), 0) != 0
            v = tl.load(
                values + slot[:, None] * value_slot + lane[None, :], mask=seen[:, None] & within[None, :], other=0.0
            )
        else:
            v = tl.load(values + slot[:, None] * value_slot + lane[None, :], mask=kept, other=0.0)
            stands = tl.load(shown + slot, mask=live, other=FAR).to(tl.int32)
            sees = stands[None, :] <= at[:, None]
            seen = stands <= highest
            if WINDOWED:
                sees = sees & (at[:, None] - stands[None, :] < window)
                seen = tl.max(sees.to(tl.int32), 0) != 0
            v = tl.where(seen[:, None], v, 0.0)  # whatever a slot holds that nobody sees
        if AHEAD:
            entry = entries_at(tile_entries, index + CAREFUL // PAGE, careful, front, seen_first, plain_end)
        scores = tl.where(sees, product(q, tl.trans(k), EXACT) * scale, float("-inf"))
        higher = tl.maximum(best, tl.max(scores, 1))
        level = tl.where(higher == float("-inf"), 0.0, higher)
        weights = tl.exp2(scores - level[:, None])
        shrink = tl.exp2(best - level)
        total = total * shrink + tl.sum(weights, 1)
        sums = gathered(weights, v, sums * shrink[:, None], EXACT)
        best = higher

    leave(sums, total, best, first_part, place, row, head, lane, real, out, parts, part_sums, HEADS, WIDTH)


def shape_of(height: int, width: int, exact: bool, masked: bool) -> dict[str, Any]:
    """How a kind of tile is gone through: the quickest of some ten ways for each on an H200 (`kernels.py`, `tune`)."""
    if exact:
        return {"KEYS": 32, "CAREFUL": 32, "CAREFUL_STAGES": 1, "AHEAD": not masked, "num_warps": 4, "num_stages": 1}
    low, narrow = height == 16, width <= 64
    keys = 64 if narrow or not low else 32
    careful = keys if low else 32  # few enough to leave the registers to the plain loop
    shape = {"KEYS": keys, "CAREFUL": careful, "num_warps": 8 if height > 64 else 4 if keys == 64 else 2}
    if masked:
        return shape | {"CAREFUL_STAGES": 3, "AHEAD": False, "num_stages": 3}
    if height > 64 and narrow:
        shape["maxnreg"] = 128  # so that a multiprocessor takes two
    return shape | {"CAREFUL_STAGES": 1, "AHEAD": low, "num_stages": 5}


def attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    asked: Tensor,
    shown: Tensor,
    rows: Tensor,
    entries: Tensor,
    words: Tensor,
    word_starts: Tensor,
    tiles: Tensor,
    bounds: Tensor,
    out: Tensor,
    parts: Tensor,
    part_sums: Tensor,
    *,
    height: int,
    page_size: int,
    masked: bool,
    window: int | None,
    scale: float,
) -> None:
    """Attend tiles [n, 6] of one height. Writes rows of `out`, or parts.

    bounds [n, 4], int32: what `survey` found of these tiles; not looked at where `masked`. scale: more than 0.

    query, out: [rows, heads, width], the last dimension dense, `out` altogether; keys, values: [slots, kv heads,
    width], dense but for the slots' stride. asked [rows] and shown [slots], int64, from 0 to 2^31 - 2: a row sees slots
    shown at or before what it is asked at, and above that minus `window`; where `masked`, what its words show instead.
    The indices rows, entries, words and word_starts are int64, see `tiles.Tiling`. parts [n, heads, width] and
    part_sums [n, heads] (logarithms to base 2): float32. A row that sees nothing gets zeros, and a part's sum of -inf.
    """
    heads, width = query.shape[1], query.shape[2]
    # the interpreter has no products of bfloat16
    exact = query.element_size() == 4 or query.device.type == "cpu"
    attend_kernel[(tiles.shape[0] * keys.shape[1],)](
        query,
        keys,
        values,
        asked,
        shown,
        rows,
        entries,
        words,
        word_starts,
        tiles,
        bounds,
        out,
        parts,
        part_sums,
        scale * LOG2_E,
        0 if window is None else window,
        query.stride(0),
        query.stride(1),
        keys.stride(0),
        values.stride(0),
        HEADS=heads,
        GROUP=heads // keys.shape[1],
        WIDTH=width,
        LANES=triton.next_power_of_2(width),
        PAGE=page_size,
        HEIGHT=height,
        MASKED=masked,
        WINDOWED=window is not None and not masked,
        EXACT=exact,
        NEAR=max(keys.shape[0] * keys.stride(0), values.shape[0] * values.stride(0)) < 1 << 31,
        **shape_of(height, width, exact, masked),
        **following(query.device),
    )
