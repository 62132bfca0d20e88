"""What one simulated inferlet did, and what its client saw of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pie_core.application.events import Ended
from pie_core.application.inferlet import Inferlet
from pie_core.testing.simulation.stage import Stage
from pie_core.testing.simulation.world import Visit


@dataclass
class Trace:
    """Written while a world runs.

    cause: why the inferlet was ended from outside ("stop", "evict", "wall"), if it was. read: the messages that the
    client read; delivered: those of its own that were accepted.
    """

    visit: Visit
    stage: Stage
    inferlet: Inferlet | None = None
    launched_at: int = 0  # step
    started_s: float = 0.0
    cause: str | None = None
    read: list[str] = field(default_factory=list)
    delivered: list[str] = field(default_factory=list)
    ended: Ended | None = None
