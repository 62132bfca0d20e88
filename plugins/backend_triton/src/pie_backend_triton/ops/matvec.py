"""The product of a weight and one row, with what follows it: bound by reading the weight, once, and nothing else.

A general matrix product leaves most of a tensor core idle for a single row. Here every program takes a few rows of the
weight whole; products and sums are float32. What follows (bias, residual, SwiGLU) happens before the store.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pie_backend_triton.ops.following import follow, following


@triton.jit
def matvec_kernel(
    weight,
    x,
    bias,
    other,
    out,
    outs,
    ins,
    AT_ONCE: tl.constexpr,
    LANES: tl.constexpr,
    BIASED: tl.constexpr,
    ADDED: tl.constexpr,
    GATED: tl.constexpr,
    FOLLOWS: tl.constexpr,
):
    """See `matvec` and `gated_matvec`. One program for AT_ONCE numbers of the result.

    The first columns of the weight are read before it waits for the kernel that makes x.
    """
    at = tl.program_id(0) * AT_ONCE + tl.arange(0, AT_ONCE)
    there = at < outs
    lane = tl.arange(0, LANES)
    line = weight + at.to(tl.int64)[:, None] * ins
    rise_line = weight + (at + outs).to(tl.int64)[:, None] * ins
    within = lane < ins
    filled = there[:, None] & within[None, :]
    first = tl.load(line + lane[None, :], mask=filled, other=0.0)
    first_rise = first
    if GATED:
        first_rise = tl.load(rise_line + lane[None, :], mask=filled, other=0.0)
    follow(FOLLOWS)
    given = tl.load(x + lane, mask=within, other=0.0).to(tl.float32)
    sums = first.to(tl.float32) * given[None, :]
    rises = first_rise.to(tl.float32) * given[None, :]
    for start in range(LANES, ins, LANES):
        column = start + lane
        within = column < ins
        filled = there[:, None] & within[None, :]
        given = tl.load(x + column, mask=within, other=0.0).to(tl.float32)
        sums += tl.load(line + column[None, :], mask=filled, other=0.0).to(tl.float32) * given[None, :]
        if GATED:
            second = tl.load(rise_line + column[None, :], mask=filled, other=0.0)
            rises += second.to(tl.float32) * given[None, :]
    value = tl.sum(sums, 1)
    if BIASED:
        value += tl.load(bias + at, mask=there, other=0.0).to(tl.float32)
    if GATED:
        rise = tl.sum(rises, 1)
        if BIASED:
            rise += tl.load(bias + outs + at, mask=there, other=0.0).to(tl.float32)
        value = value / (1.0 + tl.exp(-value)) * rise
    if ADDED:
        value += tl.load(other + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, value.to(out.dtype.element_ty), mask=there)


def matvec(x: Tensor, weight: Tensor, bias: Tensor | None = None, other: Tensor | None = None) -> Tensor:
    """x [1, in] times weight [out, in] -> [1, out], plus bias [out], plus other [1, out]; all dense."""
    return _launch(x, weight, bias, other, weight.shape[0], gated=False)


def gated_matvec(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """SwiGLU of x [1, in] times weight [2 * inner, in], gates first -> [1, inner]; all dense."""
    return _launch(x, weight, bias, None, weight.shape[0] // 2, gated=True)


def shape_of(outs: int, ins: int, gated: bool) -> dict[str, int]:
    """How the work is cut: enough programs for every processor of the device, enough bytes in flight in each.

    The quickest of sixteen ways on an H200, one behind the other, in the shapes of Llama 3.2 1B.
    """
    if gated:
        return {"AT_ONCE": 4, "LANES": 512, "num_warps": 2}
    if ins > 4096 and outs < 16384:
        return {"AT_ONCE": 1, "LANES": 1024, "num_warps": 4}
    if 3072 <= outs < 16384:
        return {"AT_ONCE": 4, "LANES": 1024, "num_warps": 4}
    return {"AT_ONCE": 2, "LANES": 2048, "num_warps": 4}


def _launch(x: Tensor, weight: Tensor, bias: Tensor | None, other: Tensor | None, outs: int, gated: bool) -> Tensor:
    out = torch.empty(1, outs, dtype=x.dtype, device=x.device)
    shape = shape_of(outs, weight.shape[1], gated)
    matvec_kernel[(triton.cdiv(outs, shape["AT_ONCE"]),)](
        weight,
        x,
        x if bias is None else bias,
        x if other is None else other,
        out,
        outs,
        weight.shape[1],
        BIASED=bias is not None,
        ADDED=other is not None,
        GATED=gated,
        **shape,
        **following(x.device),
    )
    return out
