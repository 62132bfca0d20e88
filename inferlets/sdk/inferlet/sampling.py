"""Samplers: functions from a distribution to a token."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inferlet.dist import Dist
from inferlet.draws import Draws

DIST_TOKENS = 256  # of a distribution, for samplers that do not say how many they look at
Sampler = Callable[[Dist], int]
Constraint = Callable[[Dist, Sequence[int]], Dist]
"""Gets the distribution and the tokens generated so far; returns the distribution to sample from."""


@dataclass
class Sampling:
    """Draws that the server can make as well (`sample`, of trait `decode`), with the same outcome.

    top_k: how much of the distribution is looked at; the server sends no more. The others: see `Dist.sample`.
    """

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    draws: Draws

    def __call__(self, dist: Dist) -> int:
        return dist.sample(self.temperature, self.top_k, self.top_p, self.min_p, self.draws)


def greedy() -> Sampler:
    """Always the most probable token."""
    return Sampling(0.0, 1, 1.0, 0.0, Draws(0))


def sampling(
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_p: float = 0.0,
    seed: int | None = None,
) -> Sampler:
    """Random draws as `Dist.sample` makes them, among 256 tokens unless `top_k` says otherwise; the same seed gives the
    same text."""
    return Sampling(temperature, DIST_TOKENS if top_k is None else top_k, top_p, min_p, Draws(_some(seed)))


def typical(mass: float = 0.9, temperature: float = 1.0, seed: int | None = None) -> Sampler:
    """Locally typical sampling (Meister et al. 2023): tokens whose surprise is nearest to the entropy, up to `mass`."""
    source = Draws(_some(seed))

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


def _some(seed: int | None) -> int:
    return random.getrandbits(64) if seed is None else seed
