"""Random numbers that anybody can make again: number n of a seed, whoever asks, in whatever order."""

from __future__ import annotations

from typing import Protocol

_WORD = (1 << 64) - 1


class Source(Protocol):
    """Where random numbers come from, as `random.Random`."""

    def random(self) -> float:
        """In [0, 1)."""
        ...


def draw(seed: int, number: int) -> float:
    """Number `number` of a seed, in [0, 1): SplitMix64 (Steele, Lea and Flood 2014), 53 bits of it."""
    word = (seed + (number + 1) * 0x9E3779B97F4A7C15) & _WORD
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    word = (word ^ word >> 27) * 0x94D049BB133111EB & _WORD
    return ((word ^ word >> 31) >> 11) * 2.0**-53


class Draws:
    """The numbers of a seed, in order. `number` is the next one's."""

    def __init__(self, seed: int, number: int = 0) -> None:
        self.seed = seed & _WORD
        self.number = number

    def random(self) -> float:
        """The next one."""
        self.number += 1
        return draw(self.seed, self.number - 1)
