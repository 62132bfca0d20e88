"""Samplers: functions from a distribution to a token."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inferlet.dist import Dist

Sampler = Callable[[Dist], int]
Constraint = Callable[[Dist, Sequence[int]], Dist]
"""Gets the distribution and the tokens generated so far; returns the distribution to sample from."""


@dataclass(frozen=True)
class Greedy:
    """Always the most probable token. `top_k`: how much of the distribution it looks at; the server sends no more."""

    top_k: int = 1

    def __call__(self, dist: Dist) -> int:
        return dist.max_index()


def greedy() -> Sampler:
    """Always the most probable token."""
    return Greedy()


def sampling(
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_p: float = 0.0,
    seed: int | None = None,
) -> Sampler:
    """Random draws as `Dist.sample` makes them; the same seed gives the same text."""
    source = random.Random(seed)
    return lambda dist: dist.sample(temperature, top_k, top_p, min_p, source)


def typical(mass: float = 0.9, temperature: float = 1.0, seed: int | None = None) -> Sampler:
    """Locally typical sampling (Meister et al. 2023): tokens whose surprise is nearest to the entropy, up to `mass`."""
    source = random.Random(seed)

    def draw(dist: Dist) -> int:
        entropy = dist.entropy()
        pairs = [(token, p) for token, p in zip(dist.ids, dist.probs, strict=True) if p > 0.0]
        pairs.sort(key=lambda pair: abs(-math.log(pair[1]) - entropy))
        kept, total = [], 0.0
        for token, p in pairs:
            kept.append((p, token))
            total += p
            if total >= mass:
                break
        kept.sort(key=lambda pair: (-pair[0], pair[1]))
        return Dist([token for _, token in kept], [p for p, _ in kept]).sample(temperature, seed=source)

    return draw
