"""The exact top-k of rows over a large vocabulary, ties in the order of ids, and their probabilities.

Scores become integer keys that never tie: the bits of the float, in the order of floats, above the reversed id. Blocks
of a row find their k-th largest key bit by bit (radix selection, a block's keys in registers), then blocks of what is
left do, until one is left; its keys are put in order by counting how many are larger. No sort, and no look from the
host.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pie_backend_triton.ops.log_sum_exp import log_sum_exp

MOST = 1024  # tokens of a row; more are for a sort
BLOCK = 4096
RANKED = 64  # keys compared with at a time


@triton.jit
def keep_kernel(logits, keys, kept, width, blocks, count, id_bits, FROM_LOGITS: tl.constexpr, BLOCK: tl.constexpr):
    """The `count` largest keys of a block of a row, in any order, filled up with -1. One program for each block."""
    row = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    at = block * BLOCK + tl.arange(0, BLOCK)
    within = at < width
    if FROM_LOGITS:
        score = tl.load(logits + row * width + at, mask=within, other=0.0).to(tl.float32)
        score = tl.where(score == 0.0, 0.0, score)  # -0.0 is 0.0's equal
        bits = score.to(tl.int32, bitcast=True).to(tl.int64)
        rising = tl.where(bits < 0, -1 - bits, bits + 2147483648)  # of 32 bits, in the order of the floats
        key = (rising << id_bits) + (((1 << id_bits) - 1) - at).to(tl.int64)
    else:
        key = tl.load(keys + row * width + at, mask=within, other=-1)
    key = tl.where(within, key, -1)
    limit = tl.zeros([], tl.int64)
    for bit in range(32 + id_bits):
        higher = limit + (tl.full([], 1, tl.int64) << (31 + id_bits - bit))
        enough = tl.sum((key >= higher).to(tl.int32)) >= count
        limit = tl.where(enough, higher, limit)
    chosen = key >= limit
    place = tl.cumsum(chosen.to(tl.int32), 0) - 1
    found = tl.sum(chosen.to(tl.int32))
    target = kept + (row * blocks + block) * count
    tl.store(target + place, key, mask=chosen)
    rest = tl.arange(0, BLOCK)
    tl.store(target + rest, tl.full([BLOCK], -1, tl.int64), mask=(rest >= found) & (rest < count))


@triton.jit
def rank_kernel(keys, sums, ids, probs, count, id_bits, LANES: tl.constexpr, RANKED: tl.constexpr):
    """Ids and probabilities of `count` keys of a row, the largest first. One program for a row."""
    row = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, LANES)
    key = tl.load(keys + row * count + lane, mask=lane < count, other=-1)
    rank = tl.zeros([LANES], tl.int32)
    for start in range(0, count, RANKED):
        at = start + tl.arange(0, RANKED)
        rival = tl.load(keys + row * count + at, mask=at < count, other=-1)
        rank += tl.sum((rival[None, :] > key[:, None]).to(tl.int32), 1)
    rising = key >> id_bits
    bits = tl.where(rising < 2147483648, -1 - rising, rising - 2147483648)
    score = bits.to(tl.int32).to(tl.float32, bitcast=True)
    mask = (1 << id_bits) - 1
    tl.store(ids + row * count + rank, mask - (key & mask), mask=lane < count)
    tl.store(probs + row * count + rank, tl.exp(score - tl.load(sums + row)), mask=lane < count)


def top(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """logits [rows, vocab], dense float32, no NaN, and count up to min(vocab, 1024) -> (ids int64, probabilities
    float32), [rows, count], by falling probability, equal ones by rising id. Probabilities are of the row's softmax.
    """
    rows, width = logits.shape
    id_bits = max(1, (width - 1).bit_length())
    sums = log_sum_exp(logits)
    keys: Tensor | None = None
    while keys is None or width > count:
        blocks = triton.cdiv(width, BLOCK)
        kept = torch.empty(rows, blocks, count, dtype=torch.int64, device=logits.device)
        keep_kernel[(rows, blocks)](
            logits,
            kept if keys is None else keys,
            kept,
            width,
            blocks,
            count,
            id_bits,
            FROM_LOGITS=keys is None,
            BLOCK=BLOCK,
            num_warps=8,
        )
        keys, width = kept, blocks * count
    ids = torch.empty(rows, count, dtype=torch.int64, device=logits.device)
    probs = torch.empty(rows, count, dtype=torch.float32, device=logits.device)
    lanes = max(16, triton.next_power_of_2(count))
    rank_kernel[(rows,)](keys, sums, ids, probs, count, id_bits, LANES=lanes, RANKED=RANKED, num_warps=4)
    return ids, probs
