"""What a module of `sides/` offers: a list `TECHNIQUES` of these."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from techniques.bench import Bench

Side = Callable[["Bench", int], Awaitable[list[str]]]
"""Does the work of so many clients, all at once, and returns the answer of each. Clients may ask different things."""

Cached = Callable[["Bench", int], int]
"""How many tokens of so many clients are in a cache, so that our server is not to run them."""


@dataclass(frozen=True)
class Baseline:
    """Another way to the same answers."""

    side: Side
    aim: float = 1.0  # our time is to be at most this share of its time, for one client
    same: bool = True  # whether the answers are to be the very same


@dataclass(frozen=True)
class Technique:
    """Our program on one kind of task, and what it is held against: one block of rows."""

    name: str
    ours: Side
    baselines: Mapping[str, Baseline]
    cached: Cached | None = None  # the first baseline is one that has our server run these too
