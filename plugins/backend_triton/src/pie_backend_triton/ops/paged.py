"""What attention over pages is made of: from entries to slots, keys and values, and its two products."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def entries_at(entries, index, count, front, seen_first, plain_end):
    """Those that are not plain, of which `front` come before these, by their number; 0 from `count` on."""
    place = index + tl.where(index < front, seen_first, plain_end - front)
    return tl.load(entries + place, mask=index < count, other=0)


@triton.jit
def slots_of(entry, offset, PAGE: tl.constexpr, NEAR: tl.constexpr):
    """Of entries' pages."""
    page = entry >> 32
    return (page.to(tl.int32) if NEAR else page) * PAGE + offset


@triton.jit
def read(numbers, slot, stride, lane, WIDTH: tl.constexpr, LANES: tl.constexpr):
    """Keys or values of slots that are all there."""
    if WIDTH == LANES:
        return tl.load(numbers + slot[:, None] * stride + lane[None, :])
    else:
        within = (slot[:, None] >= 0) & (lane[None, :] < WIDTH)
        return tl.load(numbers + slot[:, None] * stride + lane[None, :], mask=within, other=0.0)


@triton.jit
def product(q, k, EXACT: tl.constexpr):
    """Scores [rows, slots] of queries and keys [width, slots]."""
    if EXACT:
        return tl.dot(q.to(tl.float32), k.to(tl.float32), input_precision="ieee")
    else:
        return tl.dot(q, k)


@triton.jit
def gathered(weights, v, sums, EXACT: tl.constexpr):
    """sums and the values, weighted, of slots that came by. Weights are rounded as they are for `tl.dot`."""
    if EXACT:
        return tl.dot(weights.to(v.dtype).to(tl.float32), v.to(tl.float32), sums, input_precision="ieee")
    else:
        return tl.dot(weights.to(v.dtype), v, sums)


@triton.jit
def leave(
    sums,
    total,
    best,
    first_part,
    place,
    row,
    head,
    lane,
    real,
    out,
    parts,
    part_sums,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Store what a tile has come to: rows of `out`, or from `first_part` on parts, which are to be merged.

    A row that saw nothing leaves zeros, and a sum of -inf, for `best` is that.
    """
    total = tl.where(total == 0.0, 1.0, total)
    sums = sums / total[:, None]
    filled = real[:, None] & (lane < WIDTH)[None, :]
    if first_part < 0:
        target = out + (row[:, None] * HEADS + head[:, None]) * WIDTH + lane[None, :]
        tl.store(target, sums.to(out.dtype.element_ty), mask=filled)
    else:
        part = (first_part + place) * HEADS + head
        tl.store(parts + part[:, None] * WIDTH + lane[None, :], sums, mask=filled)
        tl.store(part_sums + part, best + tl.log2(total), mask=real)
