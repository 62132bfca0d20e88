"""SwiGLU (Shazeer 2020) of gates and values that lie side by side, in one pass; float32 until it is stored."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pie_backend_triton.ops.following import follow, following

LANES = 1024


@triton.jit
def swiglu_kernel(joined, out, width, LANES: tl.constexpr, FOLLOWS: tl.constexpr):
    """One program for a row and LANES numbers."""
    follow(FOLLOWS)
    row = tl.program_id(0).to(tl.int64)
    lane = tl.program_id(1) * LANES + tl.arange(0, LANES)
    within = lane < width
    source = joined + row * 2 * width + lane
    gate = tl.load(source, mask=within, other=0.0).to(tl.float32)
    rise = tl.load(source + width, mask=within, other=0.0).to(tl.float32)
    value = gate / (1.0 + tl.exp(-gate)) * rise
    tl.store(out + row * width + lane, value.to(out.dtype.element_ty), mask=within)


def swiglu(joined: Tensor) -> Tensor:
    """joined [rows, 2 * width], dense: silu of the first half of a row times the second -> [rows, width]."""
    rows, width = joined.shape[0], joined.shape[1] // 2
    out = torch.empty(rows, width, dtype=joined.dtype, device=joined.device)
    grid = rows, triton.cdiv(width, LANES)
    swiglu_kernel[grid](joined, out, width, LANES=LANES, num_warps=4, **following(out.device))
    return out
