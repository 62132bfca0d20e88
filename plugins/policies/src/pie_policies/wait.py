"""Contention by waiting: an allocation waits until others have given back what it needs."""

from __future__ import annotations

from pie_core.control.contention import ContentionPolicy
from pie_core.control.policy import PolicySpec
from pie_core.hookspecs import hookimpl


class Wait(ContentionPolicy):
    """Nobody gives way, but for a cycle: where all who hold something wait for more, the newest is ended."""

    name = "wait"


@hookimpl
def pie_contention() -> PolicySpec:
    return PolicySpec("wait", "Let allocations wait; break cycles of waits.", lambda options: Wait())
