"""Eager dispatch: every command is launched the moment it is ready, whether the device is idle or not."""

from __future__ import annotations

from pie_core.control.batching import Backlog
from pie_core.control.dispatch import DispatchPolicy
from pie_core.control.policy import PolicySpec
from pie_core.hookspecs import hookimpl


class Eager(DispatchPolicy):
    """A batch is what became ready at one instant: mostly a single command."""

    name = "eager"
    immediate = True

    def due(self, backlog: Backlog, *, idle: bool, quiet: bool, now: float) -> bool:
        """At once."""
        return True


@hookimpl
def pie_dispatch() -> PolicySpec:
    return PolicySpec("eager", "Launch every command the moment it is ready.", lambda options: Eager())
