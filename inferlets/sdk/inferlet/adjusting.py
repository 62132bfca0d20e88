"""Biases and penalties: what is added to the log-probabilities of tokens before one is drawn."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from inferlet.dist import Dist
from inferlet.errors import ArgumentError


@dataclass
class Adjustment:
    """A constraint that the server can apply as well (`decode`, of trait `decode`), with the same outcome.

    bias: by token, added to its log-probability. presence, frequency: taken off that of a token which was generated
    before, once and for each time. seen: tokens that count as generated before. Only tokens that the distribution lists
    are drawn, whatever their bias.
    """

    bias: Mapping[int, float] = field(default_factory=dict)
    presence: float = 0.0
    frequency: float = 0.0
    seen: Sequence[int] = ()

    @property
    def counts(self) -> bool:
        """Whether it matters what was generated before."""
        return self.presence != 0.0 or self.frequency != 0.0

    @property
    def changes_anything(self) -> bool:
        """Whether a distribution can be another one afterwards."""
        return bool(self.bias) or self.counts

    def __call__(self, dist: Dist, answer: Sequence[int]) -> Dist:
        """The distribution among the tokens that `dist` lists, behind the tokens of `answer`."""
        count = Counter([*self.seen, *answer]) if self.counts else Counter[int]()
        scores = [self._score(token, p, count[token]) for token, p in zip(dist.ids, dist.probs, strict=True)]
        best = max(scores)
        weights = [math.exp(score - best) for score in scores]
        total = math.fsum(weights)
        order = sorted(range(len(weights)), key=lambda place: (-weights[place], dist.ids[place]))
        return Dist([dist.ids[place] for place in order], [weights[place] / total for place in order])

    def _score(self, token: int, p: float, count: int) -> float:
        if not p > 0.0:
            return -math.inf
        taken = self.presence + self.frequency * count if count else 0.0
        return math.log(p) + self.bias.get(token, 0.0) - taken


def adjust(
    bias: Mapping[int, float] | Iterable[tuple[int, float]] = (), presence: float = 0.0, frequency: float = 0.0
) -> Adjustment:
    """A constraint: biases by token, and penalties for tokens that the answer has already (OpenAI's definitions)."""
    found = dict(bias)
    if not all(map(math.isfinite, [presence, frequency, *found.values()])):
        raise ArgumentError("adjust: biases and penalties must be finite numbers")
    return Adjustment(found, presence, frequency)
