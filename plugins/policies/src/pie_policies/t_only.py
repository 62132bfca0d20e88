"""T-only dispatch: launch by the clock."""

from __future__ import annotations

import msgspec

from pie_core.control.batching import Backlog
from pie_core.control.dispatch import DispatchPolicy
from pie_core.control.policy import PolicySpec
from pie_core.errors import ConfigError
from pie_core.hookspecs import hookimpl


class TOnlyOptions(msgspec.Struct, frozen=True):
    """t_ms: milliseconds from one launch to the next."""

    t_ms: float = 5.0


class TOnly(DispatchPolicy):
    """Launches what is ready at every tick of `t_ms`, whether the device is idle or not. Ticks without work pass."""

    name = "t-only"

    def __init__(self, options: TOnlyOptions) -> None:
        if not options.t_ms > 0:
            raise ConfigError(f"t-only: t_ms is {options.t_ms}; give more than 0")
        self._period_s = options.t_ms / 1e3
        self._tick: float | None = None  # the one that the commands which are ready wait for

    def due(self, backlog: Backlog, *, idle: bool, quiet: bool, now: float) -> bool | float:
        """At the first tick after something became ready."""
        if self._tick is None or now >= self._tick + self._period_s:  # none, or one that nobody was left to use
            self._tick = (now // self._period_s + 1) * self._period_s
        if now < self._tick:
            return self._tick
        self._tick = None
        return True


@hookimpl
def pie_dispatch() -> PolicySpec:
    return PolicySpec("t-only", "Launch every t_ms milliseconds.", TOnly, TOnlyOptions)
