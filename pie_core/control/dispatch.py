"""When to launch: the dispatch policy."""

from __future__ import annotations

from typing import Protocol

from pie_core.control.batching import Backlog


class DispatchPolicy(Protocol):
    """Asked whenever something changed: a command became ready, the device became idle, or a look was due."""

    name: str

    def due(self, backlog: Backlog, *, idle: bool, quiet: bool, now: float) -> bool:
        """Whether to form and launch a wave now. `backlog` is not empty.

        idle: no wave is in flight. quiet: every inferlet that could run has run since the last command arrived, so
        that nothing more will come until the device answers. now: seconds on the control layer's clock.
        """
        ...


class Adaptive:
    """The default, the paper's: as soon as the device is idle, with all that is ready by then."""

    name = "adaptive"

    def due(self, backlog: Backlog, *, idle: bool, quiet: bool, now: float) -> bool:
        """Idle device, and the inferlets that were just woken have had their say."""
        return idle and quiet
