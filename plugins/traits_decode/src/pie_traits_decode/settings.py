"""How tokens are drawn: what the commands of the trait check alike."""

from __future__ import annotations

import math
from typing import Protocol

from pie_core import ArgumentError, Embed, HandleError


class Settings(Protocol):
    """The fields of a command that say how to draw."""

    temperature: float
    top_k: int | None
    top_p: float
    min_p: float


def check_settings(of: Settings, name: str) -> None:
    """Raise `ArgumentError` for what is outside its range."""
    if not (0 <= of.temperature < math.inf and 0 < of.top_p <= 1 and 0 <= of.min_p <= 1):
        raise ArgumentError(f"{name}: temperature >= 0, 0 < top_p <= 1 and 0 <= min_p <= 1 are wanted")
    if of.top_k == 0:
        raise ArgumentError(f"{name}: top_k is 0; name at least 1, or None for the whole vocabulary")


def position_behind(emb: tuple[Embed, ...], name: str) -> int:
    """Where the token goes that is drawn from what an Embed holds. Raises `HandleError` for one that holds nothing."""
    position = emb[0].position
    if position is None:
        raise HandleError(
            f"{name}: the Embed was never written; run forward with it in `oemb` first, and await a decode that is to "
            "write it"
        )
    return position
