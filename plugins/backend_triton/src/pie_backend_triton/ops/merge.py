"""Merges the parts of a row's attention by their log-sum-exp: exact, in float32, in the order of the parts.

softmax over a union of keys is the mean of the softmaxes over its parts, weighted by their sums (Flash-Decoding, Dao et
al. 2023; "attention states" in FlashInfer, Ye et al. 2025).
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from pie_backend_triton.ops.following import follow, following


@triton.jit
def merge_kernel(
    rows,
    starts,
    places,
    parts,
    part_sums,
    out,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    LANES: tl.constexpr,
    FOLLOWS: tl.constexpr,
):
    """See `merge`. One program for a row and head."""
    follow(FOLLOWS)
    index = tl.program_id(0)
    head = tl.program_id(1)
    row = tl.load(rows + index)
    first = tl.load(starts + index)
    last = tl.load(starts + index + 1)
    if first == last:
        return
    lane = tl.arange(0, LANES)
    within = lane < WIDTH
    best = float("-inf")
    total = 0.0
    sums = tl.zeros([LANES], tl.float32)
    for at in range(first, last):
        part = tl.load(places + at) * HEADS + head
        level = tl.load(part_sums + part)
        higher = tl.maximum(best, level)
        base = tl.where(higher == float("-inf"), 0.0, higher)
        shrink = tl.exp2(best - base)
        weight = tl.exp2(level - base)
        sums = sums * shrink + weight * tl.load(parts + part * WIDTH + lane, mask=within, other=0.0)
        total = total * shrink + weight
        best = higher
    sums = sums / tl.where(total == 0.0, 1.0, total)
    tl.store(out + (row * HEADS + head) * WIDTH + lane, sums.to(out.dtype.element_ty), mask=within)


def merge(rows: Tensor, starts: Tensor, places: Tensor, parts: Tensor, part_sums: Tensor, out: Tensor) -> None:
    """Write rows [n] of out [rows, heads, width] from parts starts[i] to starts[i + 1] of `places`.

    parts [parts, heads, width] and part_sums [parts, heads], float32, as `attend` leaves them; indices int64. A row
    whose parts saw nothing gets zeros; one without parts is left as it is.
    """
    heads, width = out.shape[1], out.shape[2]
    merge_kernel[(rows.shape[0], heads)](
        rows,
        starts,
        places,
        parts,
        part_sums,
        out,
        HEADS=heads,
        WIDTH=width,
        LANES=triton.next_power_of_2(width),
        num_warps=1,
        **following(out.device),
    )
