"""Drawing a token for each row of logits on the device, as `inferlet.Dist.sample` draws from the distribution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pie_backend_torch.ahead.changes import Changes

LISTED = 256  # of the most probable tokens, no more are looked at
Top = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""See `kernels.Kernels.top`."""


@dataclass(frozen=True, slots=True)
class How:
    """How each of n rows is drawn, [n] each; see `Dist.sample`. top_k: 1 to `LISTED`."""

    temperature: Tensor  # float64
    top_p: Tensor  # float64
    min_p: Tensor  # float64
    top_k: Tensor  # int64
    seed: Tensor  # int64, the bits of an unsigned number
    number: Tensor  # int64, of the draw
    changes: Changes | None = None  # of the distributions, before


def draw(logits: Tensor, how: How, top: Top) -> Tensor:
    """A token [n] for each row of logits [n, vocab] float32. Nothing is looked at on the host.

    Sums are in float64, so a draw is another one than the SDK's only where the two fall within rounding of a border.
    """
    ids, listed = listing(logits, how, top)
    probs = listed.double()
    places = torch.arange(probs.shape[1], device=probs.device)
    best = probs[:, :1]
    kept = places < how.top_k[:, None]
    kept &= (how.min_p[:, None] == 0.0) | (probs >= how.min_p[:, None] * best)
    kept &= _inside_mass(probs * kept, how.top_p[:, None])
    kept[:, 0] = True
    greedy = how.temperature == 0.0
    power = 1.0 / torch.where(greedy, 1.0, how.temperature)
    sums = (torch.pow(probs / best, power[:, None]) * kept).cumsum(-1)
    threshold = uniform(how.seed, how.number)[:, None] * sums[:, -1:]
    place = torch.minimum((sums < threshold).sum(-1), kept.sum(-1) - 1)
    place = torch.where(greedy, 0, place)
    return ids.gather(1, place[:, None])[:, 0]


def listing(logits: Tensor, how: How, top: Top) -> tuple[Tensor, Tensor]:
    """The tokens that are looked at, by falling probability, and something in proportion to that, [n, listed] each."""
    ids, probs = top(logits, min(LISTED, logits.shape[1]))
    return (ids, probs) if how.changes is None else how.changes.to(ids, probs)


def uniform(seed: Tensor, number: Tensor) -> Tensor:
    """Number `number` of each seed, [n] in [0, 1): SplitMix64, as in `inferlet.draws`."""
    word = seed + (number + 1) * _signed(0x9E3779B97F4A7C15)
    word = (word ^ _shifted(word, 30)) * _signed(0xBF58476D1CE4E5B9)
    word = (word ^ _shifted(word, 27)) * _signed(0x94D049BB133111EB)
    return _shifted(word ^ _shifted(word, 31), 11).double() * 2.0**-53


def _inside_mass(probs: Tensor, top_p: Tensor) -> Tensor:
    """The first of falling probabilities [n, listed], up to the one with which they reach a part of their sum."""
    sums = probs.cumsum(-1)
    return (top_p >= 1.0) | (sums - probs < top_p * sums[:, -1:])


def _shifted(word: Tensor, bits: int) -> Tensor:
    """Shifted right as an unsigned number."""
    return (word >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
