"""The log-sum-exp of rows over a large vocabulary, in two passes with a whole device at work on one row.

Online normalisation (Milakov and Gimelshein 2018): blocks of a row leave their largest score and the sum of
exponentials above it; these are merged. float32 throughout; scores of -inf are of probability 0, and a row of nothing
else gives NaN.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096


@triton.jit
def block_sum_kernel(logits, best, sums, vocab, blocks, BLOCK: tl.constexpr):
    """One program for a row and block: its largest score, and the sum of exponentials above that."""
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    at = block * BLOCK + tl.arange(0, BLOCK)
    score = tl.load(logits + row * vocab + at, mask=at < vocab, other=float("-inf"))
    high = tl.max(score)
    level = tl.where(high == float("-inf"), 0.0, high)
    tl.store(best + row * blocks + block, high)
    tl.store(sums + row * blocks + block, tl.sum(tl.exp(score - level)))


@triton.jit
def log_sum_kernel(best, sums, out, blocks, LANES: tl.constexpr):
    """One program for a row: the logarithm of its sum of exponentials."""
    row = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, LANES)
    high = tl.load(best + row * blocks + lane, mask=lane < blocks, other=float("-inf"))
    part = tl.load(sums + row * blocks + lane, mask=lane < blocks, other=0.0)
    highest = tl.max(high)
    total = tl.sum(tl.where(part > 0.0, part * tl.exp(high - highest), 0.0))
    tl.store(out + row, highest + tl.log(total))


def log_sum_exp(logits: Tensor) -> Tensor:
    """logits [rows, vocab], dense float32 -> [rows] float32."""
    rows, vocab = logits.shape
    blocks = triton.cdiv(vocab, BLOCK)
    best, sums = (torch.empty(rows, blocks, dtype=torch.float32, device=logits.device) for _ in range(2))
    out = torch.empty(rows, dtype=torch.float32, device=logits.device)
    block_sum_kernel[(rows, blocks)](logits, best, sums, vocab, blocks, BLOCK=BLOCK, num_warps=8)
    log_sum_kernel[(rows,)](best, sums, out, blocks, LANES=triton.next_power_of_2(blocks), num_warps=1)
    return out
