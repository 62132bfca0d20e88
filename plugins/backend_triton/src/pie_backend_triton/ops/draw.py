"""Draws one token for each row of a distribution: temperature, top-k, min-p and top-p (Holtzman et al. 2020).

The same cuts in the same order as `inferlet.Dist.sample`, by inverse transform of the same number: SplitMix64 (Steele,
Lea and Flood 2014), as in `inferlet.draws`. Sums are float64: only within rounding of a border between two tokens
either may be drawn.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def uniform(seed, number):
    """Number `number` of a seed, in [0, 1), float64; both int64, whose products wrap."""
    word = seed + (number + 1) * -7046029254386353131
    word = (word ^ ((word >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    word = (word ^ ((word >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    word = word ^ ((word >> 31) & 0x1FFFFFFFF)
    return ((word >> 11) & 0x1FFFFFFFFFFFFF).to(tl.float64) * 1.1102230246251565e-16


@triton.jit
def draw_kernel(ids, probs, temperature, top_k, top_p, min_p, seeds, numbers, tokens, width, LANES: tl.constexpr):
    """One program for a row. See `draw`."""
    row = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, LANES)
    prob = tl.load(probs + row * width + lane, mask=lane < width, other=0.0).to(tl.float64)
    best = tl.max(prob)
    heat = tl.load(temperature + row + 0 * lane)  # the same for every lane
    kept = (lane < width) & (lane < tl.load(top_k + row))
    kept = kept & (prob >= tl.load(min_p + row) * best)
    share = tl.load(top_p + row)
    mass = tl.where(kept, prob, 0.0)
    before = tl.cumsum(mass, 0) - mass
    kept = kept & (before < tl.where(share < 1.0, share * tl.sum(mass), float("inf")))
    kept = (kept & (heat > 0.0)) | (lane == 0)
    sound = kept & (prob > 0.0)
    power = tl.log2(tl.where(sound, prob / best, 1.0)) / tl.where(heat > 0.0, heat, 1.0)
    weight = tl.where(sound, tl.exp2(power), 0.0)
    wanted = uniform(tl.load(seeds + row), tl.load(numbers + row)) * tl.sum(weight)
    short = tl.sum((kept & (tl.cumsum(weight, 0) < wanted)).to(tl.int32))
    place = tl.minimum(short, tl.sum(kept.to(tl.int32)) - 1)
    tl.store(tokens + row, tl.load(ids + row * width + place))


def draw(
    ids: Tensor,
    probs: Tensor,
    temperature: Tensor,
    top_k: Tensor,
    top_p: Tensor,
    min_p: Tensor,
    seeds: Tensor,
    numbers: Tensor,
) -> Tensor:
    """ids int64 and probs float32 or float64 [rows, width] by falling probability, of any sum -> tokens [rows] int64.

    A value for each row: temperature (0: the most probable), top_p and min_p (0: all), float64; top_k, seeds (the bits
    of unsigned numbers) and numbers (of the draw), int64.
    """
    rows, width = ids.shape
    tokens = torch.empty(rows, dtype=torch.int64, device=ids.device)
    lanes = triton.next_power_of_2(width)
    draw_kernel[(rows,)](
        ids, probs, temperature, top_k, top_p, min_p, seeds, numbers, tokens, width, LANES=lanes, num_warps=4
    )
    return tokens
