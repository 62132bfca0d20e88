"""The most probable token of each row over a large vocabulary, in two passes with a whole device at work on one row."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pie_backend_triton.ops.following import follow, following

BLOCK = 4096


@triton.jit
def block_best_kernel(logits, scores, ids, vocab, blocks, BLOCK: tl.constexpr, FOLLOWS: tl.constexpr):
    """One program for a row and block: its largest score, and the first place that has it."""
    follow(FOLLOWS)
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    at = block * BLOCK + tl.arange(0, BLOCK)
    score = tl.load(logits + row * vocab + at, mask=at < vocab, other=float("-inf"))
    high, place = tl.max(score, 0, return_indices=True, return_indices_tie_break_left=True)
    tl.store(scores + row * blocks + block, high)
    tl.store(ids + row * blocks + block, block * BLOCK + place)


@triton.jit
def best_kernel(scores, ids, out, blocks, LANES: tl.constexpr, FOLLOWS: tl.constexpr):
    """One program for a row: the first place of the largest score of its blocks."""
    follow(FOLLOWS)
    row = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, LANES)
    score = tl.load(scores + row * blocks + lane, mask=lane < blocks, other=float("-inf"))
    _, block = tl.max(score, 0, return_indices=True, return_indices_tie_break_left=True)
    tl.store(out + row, tl.load(ids + row * blocks + block))


def best(logits: Tensor) -> Tensor:
    """logits [rows, vocab], dense float32, no NaN -> [rows] int64; of equal ones the first."""
    rows, vocab = logits.shape
    blocks = triton.cdiv(vocab, BLOCK)
    scores = torch.empty(rows, blocks, dtype=torch.float32, device=logits.device)
    ids = torch.empty(rows, blocks, dtype=torch.int64, device=logits.device)
    out = torch.empty(rows, dtype=torch.int64, device=logits.device)
    follows = following(logits.device)
    block_best_kernel[(rows, blocks)](logits, scores, ids, vocab, blocks, BLOCK=BLOCK, num_warps=8, **follows)
    best_kernel[(rows,)](scores, ids, out, blocks, LANES=triton.next_power_of_2(blocks), num_warps=1, **follows)
    return out
