"""The product of a weight and one row, with what comes before and behind it: bound by reading the weight, once.

A general matrix product leaves most of a tensor core idle for a single row. Here every program takes a few rows of the
weight whole; products and sums are float32. The row's RMSNorm (Zhang and Sennrich 2019) comes before, its root taken
out of the sum: weight @ (x * gain / rms) = (weight @ (x * gain)) / rms. What follows (bias, residual, SwiGLU) happens
before the store. So a row goes from one product to the next with no launch in between.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from pie_backend_torch.kernels import Norm
from torch import Tensor

from pie_backend_triton.ops.following import following, release, wait


@triton.jit
def products(
    line,
    second_line,
    there,
    x,
    gain,
    eps,
    INS: tl.constexpr,
    LANES: tl.constexpr,
    TWICE: tl.constexpr,
    NORMED: tl.constexpr,
    FOLLOWS: tl.constexpr,
):
    """Of x [INS] with the rows of the weight that start at `line`, where `there`; TWICE: and those at `second_line`.

    The first LANES columns are read before it waits for the kernel that makes x.
    """
    release(FOLLOWS)
    lane = tl.arange(0, LANES)
    filled = there[:, None] & (lane < INS)[None, :]
    first = tl.load(line[:, None] + lane[None, :], mask=filled, other=0.0)
    second = first
    if TWICE:
        second = tl.load(second_line[:, None] + lane[None, :], mask=filled, other=0.0)
    scale = first
    if NORMED:
        scale = tl.load(gain + lane, mask=lane < INS, other=0.0)
    wait(FOLLOWS)
    given = tl.load(x + lane, mask=lane < INS, other=0.0).to(tl.float32)
    squares = given * given
    if NORMED:
        given *= scale.to(tl.float32)
    sums = first.to(tl.float32) * given[None, :]
    second_sums = second.to(tl.float32) * given[None, :]
    for start in tl.static_range(LANES, INS, LANES):
        column = start + lane
        filled = there[:, None] & (column < INS)[None, :]
        first = tl.load(line[:, None] + column[None, :], mask=filled, other=0.0)
        if TWICE:
            second = tl.load(second_line[:, None] + column[None, :], mask=filled, other=0.0)
        given = tl.load(x + column, mask=column < INS, other=0.0).to(tl.float32)
        if NORMED:
            squares += given * given
            given *= tl.load(gain + column, mask=column < INS, other=0.0).to(tl.float32)
        sums += first.to(tl.float32) * given[None, :]
        if TWICE:
            second_sums += second.to(tl.float32) * given[None, :]
    value = tl.sum(sums, 1)
    second_value = value
    if TWICE:
        second_value = tl.sum(second_sums, 1)
    if NORMED:
        inverse = 1.0 / tl.sqrt(tl.sum(squares) / INS + eps)
        value *= inverse
        second_value *= inverse
    return value, second_value


@triton.jit
def matvec_kernel(
    weight,
    x,
    gain,
    bias,
    other,
    out,
    eps,
    OUTS: tl.constexpr,
    INS: tl.constexpr,
    AT_ONCE: tl.constexpr,
    LANES: tl.constexpr,
    NORMED: tl.constexpr,
    BIASED: tl.constexpr,
    ADDED: tl.constexpr,
    GATED: tl.constexpr,
    FOLLOWS: tl.constexpr,
):
    """See `matvec` and `gated_matvec`. One program for AT_ONCE numbers of the result."""
    at = tl.program_id(0) * AT_ONCE + tl.arange(0, AT_ONCE)
    there = at < OUTS
    line = weight + at.to(tl.int64) * INS
    value, rise = products(line, line + OUTS * INS, there, x, gain, eps, INS, LANES, GATED, NORMED, FOLLOWS)
    if BIASED:
        value += tl.load(bias + at, mask=there, other=0.0).to(tl.float32)
    if GATED:
        if BIASED:
            rise += tl.load(bias + OUTS + at, mask=there, other=0.0).to(tl.float32)
        value = value / (1.0 + tl.exp(-value)) * rise
    if ADDED:
        value += tl.load(other + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + at, value.to(out.dtype.element_ty), mask=there)


def matvec(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    other: Tensor | None = None,
    norm: Norm | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """x [1, in], normed first, times weight [out, in] -> [1, out], plus bias [out], plus other [1, out]; all dense.

    dtype: of the result, that of x if it is not said.
    """
    return _launch(x, weight, bias, other, norm, weight.shape[0], dtype or x.dtype, gated=False)


def gated_matvec(x: Tensor, weight: Tensor, bias: Tensor | None = None, norm: Norm | None = None) -> Tensor:
    """SwiGLU of x [1, in], normed first, times weight [2 * inner, in], gates first -> [1, inner]; all dense."""
    return _launch(x, weight, bias, None, norm, weight.shape[0] // 2, x.dtype, gated=True)


def shape_of(outs: int, ins: int, gated: bool) -> dict[str, int]:
    """How the work is cut: enough programs for every processor of the device, enough bytes in flight in each.

    What whole steps of Llama 3.2 1B and 3.1 8B were quickest with on an H200, of some ten ways for each product
    (`benchmarks/kernels.py --parts shapes`).
    """
    if gated:
        narrow = {"AT_ONCE": 1, "LANES": 2048, "num_warps": 4, "maxnreg": 64}
        return narrow if ins <= 2048 else {"AT_ONCE": 4, "LANES": 1024, "num_warps": 8}
    return {"AT_ONCE": 2, "LANES": 1024 if ins > 4096 or outs >= 16384 else 2048, "num_warps": 4}


def _launch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    other: Tensor | None,
    norm: Norm | None,
    outs: int,
    dtype: torch.dtype,
    gated: bool,
) -> Tensor:
    out = torch.empty(1, outs, dtype=dtype, device=x.device)
    shape = shape_of(outs, weight.shape[1], gated)
    matvec_kernel[(triton.cdiv(outs, shape["AT_ONCE"]),)](
        weight,
        x,
        x if norm is None else norm.weight,
        x if bias is None else bias,
        x if other is None else other,
        out,
        0.0 if norm is None else norm.eps,
        OUTS=outs,
        INS=weight.shape[1],
        NORMED=norm is not None,
        BIASED=bias is not None,
        ADDED=other is not None,
        GATED=gated,
        **shape,
        **following(x.device),
    )
    return out
