"""Attention of tiles over a paged pool: each program takes some query rows over some pages, of one key head.

FlashAttention-2 (Dao 2023): the softmax is kept up as keys come by, scores never leave the chip. Query heads that share
a key head are rows of one product (grouped-query attention), so that a key is read once for them. Where a row's pages
are split (Flash-Decoding, Dao et al. 2023) or shared with other rows (Hydragen, Juravsky et al. 2024), a tile leaves a
part: its own softmax's result and log-sum-exp, to be merged by `merge`.

Products accumulate in float32; of float32 they are exact products (no TF32). Weights are rounded to the pool's type
before they meet the values, as in FlashAttention. Slots that nobody may see are not read, whatever is in them.
"""

from __future__ import annotations

import math
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from pie_backend_triton.ops.following import follow, following

FIELDS = tl.constexpr(6)  # of a tile, see `tiles.FIELDS`
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
    MASKED: tl.constexpr,
    WINDOWED: tl.constexpr,
    EXACT: tl.constexpr,
    FOLLOWS: tl.constexpr,
):
    """See `attend`. LANES: WIDTH as a power of two; KEYS: slots looked at in one go; EXACT: products of float32."""
    follow(FOLLOWS)
    tile = tiles + tl.program_id(0) * FIELDS
    kv_head = tl.program_id(1)
    first_row = tl.load(tile)
    row_count = tl.load(tile + 1)
    if row_count == 0:
        return
    first_entry = tl.load(tile + 2)
    entry_count = tl.load(tile + 3).to(tl.int32)
    depth = tl.load(tile + 4)
    first_part = tl.load(tile + 5)

    height = tl.arange(0, HEIGHT)
    lane = tl.arange(0, LANES)
    place = height // GROUP
    real = place < row_count
    row = tl.load(rows + first_row + place, mask=real, other=0)
    head = kv_head * GROUP + height % GROUP
    within = lane < WIDTH
    filled = real[:, None] & within[None, :]
    q = tl.load(query + row[:, None] * query_row + head[:, None] * query_head + lane[None, :], mask=filled, other=0.0)
    at = tl.load(asked + row, mask=real, other=0)
    if MASKED:
        word = words + tl.load(word_starts + row, mask=real, other=0) + depth

    best = tl.full([HEIGHT], float("-inf"), tl.float32)
    total = tl.zeros([HEIGHT], tl.float32)
    sums = tl.zeros([HEIGHT, LANES], tl.float32)
    step = tl.arange(0, KEYS)
    for start in range(0, entry_count * PAGE, KEYS):
        index = (start + step) // PAGE
        offset = step % PAGE
        there = index < entry_count
        entry = tl.load(entries + first_entry + index, mask=there, other=0)
        live = ((entry >> offset) & 1) != 0
        slot = (entry >> 32) * PAGE + offset
        if MASKED:
            told = real[:, None] & there[None, :]
            bits = tl.load(word[:, None] + index[None, :], mask=told, other=0)
            sees = live[None, :] & (((bits >> offset[None, :]) & 1) != 0)
        else:
            stands = tl.load(shown + slot, mask=live, other=0)
            sees = live[None, :] & real[:, None] & (stands[None, :] <= at[:, None])
            if WINDOWED:
                sees = sees & (at[:, None] - stands[None, :] < window)
        k = tl.load(
            keys + slot[None, :] * key_slot + kv_head * WIDTH + lane[:, None],
            mask=live[None, :] & within[:, None],
            other=0.0,
        )
        if EXACT:
            scores = tl.dot(q.to(tl.float32), k.to(tl.float32), input_precision="ieee")
        else:
            scores = tl.dot(q, k)
        scores = tl.where(sees, scores * scale, float("-inf"))
        seen = tl.max(sees.to(tl.int32), 0) != 0  # whatever a slot holds that nobody sees, its value is not read
        higher = tl.maximum(best, tl.max(scores, 1))
        level = tl.where(higher == float("-inf"), 0.0, higher)
        weights = tl.exp2(scores - level[:, None])
        shrink = tl.exp2(best - level)
        total = total * shrink + tl.sum(weights, 1)
        v = tl.load(
            values + slot[:, None] * value_slot + kv_head * WIDTH + lane[None, :],
            mask=seen[:, None] & within[None, :],
            other=0.0,
        )
        if EXACT:
            rounded = weights.to(v.dtype).to(tl.float32)
            sums = tl.dot(rounded, v.to(tl.float32), sums * shrink[:, None], input_precision="ieee")
        else:
            sums = tl.dot(weights.to(v.dtype), v, sums * shrink[:, None])
        best = higher

    total = tl.where(total == 0.0, 1.0, total)  # a row that saw nothing: zeros, and a sum of -inf, for `best` is that
    sums = sums / total[:, None]
    if first_part < 0:
        target = out + (row[:, None] * HEADS + head[:, None]) * WIDTH + lane[None, :]
        tl.store(target, sums.to(out.dtype.element_ty), mask=filled)
    else:
        part = (first_part + place) * HEADS + head
        tl.store(parts + part[:, None] * WIDTH + lane[None, :], sums, mask=filled)
        tl.store(part_sums + part, best + tl.log2(total), mask=real)


def shape_of(height: int, width: int, exact: bool) -> dict[str, Any]:
    """Slots in one go, warps and stages for a kind of tile. Chosen by what fits in shared memory and registers."""
    if exact:
        return {"KEYS": 32, "num_warps": 4, "num_stages": 1}
    keys = 64 if height > 16 or width > 64 else 128
    return {"KEYS": keys, "num_warps": 4, "num_stages": 3}


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

    query, out: [rows, heads, width], the last dimension dense, `out` altogether; keys, values: [slots, kv heads,
    width], dense but for the slots' stride. asked [rows] and shown [slots], int64: a row sees slots shown at or before
    what it is asked at, and above that minus `window`; where `masked`, what its words show instead. The indices rows,
    entries, words and word_starts are int64, see `tiles.Tiling`. parts [n, heads, width] and part_sums [n, heads]
    (logarithms to base 2): float32. A row that sees nothing gets zeros, and a part's sum of -inf.
    """
    heads, width = query.shape[1], query.shape[2]
    # the interpreter has no products of bfloat16
    exact = query.element_size() == 4 or query.device.type == "cpu"
    attend_kernel[(tiles.shape[0], keys.shape[1])](
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
        **shape_of(height, width, exact),
        **following(query.device),
    )
