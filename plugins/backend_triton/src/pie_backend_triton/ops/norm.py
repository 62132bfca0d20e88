"""RMSNorm (Zhang and Sennrich 2019), alone or behind a residual addition, in one pass over memory.

Sums of squares are float32; the sum of a residual addition is rounded to the tensors' type before it is normed, since
that is what the next layer adds to.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pie_backend_triton.ops.following import follow, following


@triton.jit
def norm_kernel(
    x, delta, weight, total, out, width, eps, LANES: tl.constexpr, ADDED: tl.constexpr, FOLLOWS: tl.constexpr
):
    """One program for a row. See `norm` and `add_norm`."""
    follow(FOLLOWS)
    row = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, LANES)
    within = lane < width
    value = tl.load(x + row * width + lane, mask=within, other=0.0).to(tl.float32)
    if ADDED:
        value += tl.load(delta + row * width + lane, mask=within, other=0.0).to(tl.float32)
        rounded = value.to(total.dtype.element_ty)
        tl.store(total + row * width + lane, rounded, mask=within)
        value = rounded.to(tl.float32)
    inverse = 1.0 / tl.sqrt(tl.sum(value * value) / width + eps)
    scaled = value * inverse * tl.load(weight + lane, mask=within, other=0.0).to(tl.float32)
    tl.store(out + row * width + lane, scaled.to(out.dtype.element_ty), mask=within)


def norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x [rows, width] / sqrt(mean(x ** 2) + eps) * weight [width]; all dense."""
    out = torch.empty_like(x)
    _launch(x, x, weight, x, out, eps, added=False)
    return out


def add_norm(x: Tensor, delta: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x + delta [rows, width], and the norm of that; all dense."""
    total, out = torch.empty_like(x), torch.empty_like(x)
    _launch(x, delta, weight, total, out, eps, added=True)
    return total, out


def _launch(x: Tensor, delta: Tensor, weight: Tensor, total: Tensor, out: Tensor, eps: float, added: bool) -> None:
    width = x.shape[-1]
    lanes = triton.next_power_of_2(width)
    warps = 4 if lanes <= 2048 else 8
    shape = {"LANES": lanes, "ADDED": added, "num_warps": warps}
    norm_kernel[(x.shape[0],)](x, delta, weight, total, out, width, eps, **shape, **following(x.device))
