"""Totals of an application since its start."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pie_core.application.events import Status


@dataclass
class Tally:
    """Inferlets, children included: launched, and ended by how."""

    launched: int = 0
    ended: Counter[Status] = field(default_factory=Counter)
