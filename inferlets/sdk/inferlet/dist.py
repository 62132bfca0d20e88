"""A next-token distribution: the most probable tokens, their probabilities, and the mass of the rest."""

from __future__ import annotations

import math
import random
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from inferlet.draws import Draws, Source
from inferlet.errors import ArgumentError


class Dist:
    """`ids` by falling probability, `probs` of the whole vocabulary's softmax, `rest` the mass left out."""

    __slots__ = ("ids", "probs", "rest")

    def __init__(self, ids: Sequence[int], probs: Sequence[float], rest: float = 0.0) -> None:
        self.ids = ids
        self.probs = probs
        self.rest = rest

    @classmethod
    def of(cls, record: Any) -> Dist:
        """From the server's record. Lists in both tiers: the sandbox gets them so, the trusted tier gets arrays."""
        ids, probs = record.ids, record.probs
        if type(ids) is array:
            ids, probs = ids.tolist(), probs.tolist()
        return cls(ids, probs, record.rest)

    def __len__(self) -> int:
        return len(self.ids)

    def max_index(self) -> int:
        """The most probable token."""
        return self.ids[0]

    def prob(self, token: int) -> float:
        """Probability of a token; 0.0 for one that is not listed (at most `rest` is missing then)."""
        try:
            return self.probs[self.ids.index(token)]
        except ValueError:
            return 0.0

    def entropy(self) -> float:
        """Entropy in nats of what is listed; the rest counts as one token, so this is a lower bound."""
        masses = [p for p in (*self.probs, self.rest) if p > 0.0]
        return -sum(p * math.log(p) for p in masses)

    def sample(
        self,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int | Source | None = None,
    ) -> int:
        """Draw a token among those listed.

        temperature: 0 is greedy. top_k: the k most probable. min_p: those with at least that share of the best one's
        probability (Nguyen et al. 2024). top_p: the fewest whose mass reaches p of what the other two leave (Holtzman
        et al. 2020). seed: a number, or a source of numbers such as `random.Random`; the same one gives the same draws.
        """
        sound = 0 <= temperature < math.inf and 0 < top_p <= 1 and 0 <= min_p <= 1
        if not sound or (top_k is not None and top_k < 1):
            raise ArgumentError("sample: temperature >= 0, 0 < top_p <= 1, 0 <= min_p <= 1 and top_k >= 1 are wanted")
        if not self.probs or not self.probs[0] > 0:
            raise ArgumentError("sample: no token is left to draw; a constraint may have removed them all")
        if temperature == 0:
            return self.max_index()
        count = self._cut(top_k, top_p, min_p)
        best = self.probs[0]
        weights = [(p / best) ** (1.0 / temperature) for p in self.probs[:count]]
        sums = list(accumulate(weights))
        source = random.Random() if seed is None else Draws(seed) if isinstance(seed, int) else seed
        return self.ids[min(bisect_left(sums, source.random() * sums[-1]), count - 1)]

    def _cut(self, top_k: int | None, top_p: float, min_p: float) -> int:
        count = len(self.ids) if top_k is None else min(top_k, len(self.ids))
        if min_p > 0.0:
            floor = min_p * self.probs[0]
            count = min(count, sum(1 for p in self.probs[:count] if p >= floor))
        if top_p < 1.0:
            sums = list(accumulate(self.probs[:count]))
            count = min(count, bisect_left(sums, top_p * sums[-1]) + 1)
        return max(count, 1)
