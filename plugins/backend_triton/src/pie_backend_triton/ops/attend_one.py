"""Attention of single tokens over a few pages in one go: what a step of few programs is, where time is latency.

`attend` for tiles of decode calls, with nothing in a loop. What a tile looks at is known before the pass begins, and
all of it was written in earlier passes but the new tokens themselves; so all of it is read before the kernel waits for
the one that makes queries, keys and values (`following`), and behind the wait are two products and a softmax.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from pie_backend_triton.ops.attend import FIELDS, LOG2_E
from pie_backend_triton.ops.following import following, release, wait
from pie_backend_triton.ops.paged import gathered, leave, product, slots_of

FAR = tl.constexpr(1 << 60)  # beyond every position


@triton.jit
def attend_one_kernel(
    query,
    keys,
    values,
    asked,
    shown,
    rows,
    entries,
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
    WINDOWED: tl.constexpr,
    EXACT: tl.constexpr,
    FOLLOWS: tl.constexpr,
):
    """See `attend_one`. One program for a tile and key head."""
    release(FOLLOWS)
    tile = tiles + tl.program_id(0) * FIELDS
    kv_head = tl.program_id(1)
    first_row = tl.load(tile)
    row_count = tl.load(tile + 1)
    first_entry = tl.load(tile + 2)
    entry_count = tl.load(tile + 3)
    first_part = tl.load(tile + 5)

    height = tl.arange(0, HEIGHT)
    lane = tl.arange(0, LANES)
    step = tl.arange(0, KEYS)
    place = height // GROUP
    real = place < row_count
    row = tl.load(rows + first_row + place, mask=real, other=0)
    head = kv_head * GROUP + height % GROUP
    at = tl.load(asked + row, mask=real, other=FAR)
    entry = tl.load(entries + first_entry + step // PAGE, mask=step // PAGE < entry_count, other=0)
    live = ((entry >> (step % PAGE)) & 1) != 0
    slot = slots_of(entry, step % PAGE, PAGE, False)
    stands = tl.load(shown + slot, mask=live, other=FAR)
    sees = live[None, :] & real[:, None] & (stands[None, :] <= at[:, None])
    if WINDOWED:
        sees = sees & (at[:, None] - stands[None, :] < window)
    seen = tl.max(sees.to(tl.int32), 0) != 0  # whatever a slot holds that nobody sees is not read
    within = (lane < WIDTH)[None, :]
    new = stands >= tl.min(at, 0)  # the tokens of this pass, and what comes after one of them
    key_place = keys + kv_head * WIDTH + slot[:, None] * key_slot + lane[None, :]
    value_place = values + kv_head * WIDTH + slot[:, None] * value_slot + lane[None, :]
    k = tl.load(key_place, mask=(seen & ~new)[:, None] & within, other=0.0)
    v = tl.load(value_place, mask=(seen & ~new)[:, None] & within, other=0.0)

    wait(FOLLOWS)
    if row_count == 0:
        return
    filled = real[:, None] & within
    q = tl.load(query + row[:, None] * query_row + head[:, None] * query_head + lane[None, :], mask=filled, other=0.0)
    k += tl.load(key_place, mask=(seen & new)[:, None] & within, other=0.0)
    v += tl.load(value_place, mask=(seen & new)[:, None] & within, other=0.0)
    scores = product(q, tl.trans(k), EXACT)
    scores = tl.where(sees, scores * scale, float("-inf"))
    best = tl.max(scores, 1)
    weights = tl.exp2(scores - tl.where(best == float("-inf"), 0.0, best)[:, None])
    total = tl.sum(weights, 1)
    sums = gathered(weights, v, tl.zeros([HEIGHT, LANES], tl.float32), EXACT)
    leave(sums, total, best, first_part, place, row, head, lane, real, out, parts, part_sums, HEADS, WIDTH)


def attend_one(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    asked: Tensor,
    shown: Tensor,
    rows: Tensor,
    entries: Tensor,
    tiles: Tensor,
    out: Tensor,
    parts: Tensor,
    part_sums: Tensor,
    *,
    height: int,
    page_size: int,
    most: int,
    window: int | None,
    scale: float,
) -> None:
    """`attend` for tiles of calls with one new token each and no mask, over at most `most` slots, a power of two.

    A slot that the calls of this pass write is seen by its own call alone; it stands where that one asks.
    """
    heads, width = query.shape[1], query.shape[2]
    attend_one_kernel[(tiles.shape[0], keys.shape[1])](
        query,
        keys,
        values,
        asked,
        shown,
        rows,
        entries,
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
        KEYS=most,
        WINDOWED=window is not None,
        EXACT=query.element_size() == 4 or query.device.type == "cpu",
        num_warps=4 if width <= 64 else 8,
        **following(query.device),
    )
