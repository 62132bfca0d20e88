"""RMSNorm (Zhang and Sennrich 2019) of rows, in one pass over memory; sums of squares are float32."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from pie_backend_torch.kernels import Norm
from torch import Tensor

from pie_backend_triton.ops.following import follow, following


@triton.jit
def norm_kernel(x, weight, out, width, eps, LANES: tl.constexpr, FOLLOWS: tl.constexpr):
    """See `normed`. One program for a row."""
    lane = tl.arange(0, LANES)
    within = lane < width
    scale = tl.load(weight + lane, mask=within, other=0.0).to(tl.float32)
    follow(FOLLOWS)
    row = tl.program_id(0).to(tl.int64)
    value = tl.load(x + row * width + lane, mask=within, other=0.0).to(tl.float32)
    inverse = 1.0 / tl.sqrt(tl.sum(value * value) / width + eps)
    tl.store(out + row * width + lane, (value * inverse * scale).to(out.dtype.element_ty), mask=within)


def normed(x: Tensor, norm: Norm) -> Tensor:
    """x [rows, width], dense, normed row by row."""
    out, width = torch.empty_like(x), x.shape[-1]
    lanes = triton.next_power_of_2(width)
    warps = 4 if lanes <= 2048 else 8
    norm_kernel[(x.shape[0],)](
        x, norm.weight, out, width, norm.eps, LANES=lanes, num_warps=warps, **following(x.device)
    )
    return out
