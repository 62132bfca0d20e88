"""K-only dispatch: wait for company, up to a number."""

from __future__ import annotations

import msgspec

from pie_core.control.batching import Backlog
from pie_core.control.dispatch import DispatchPolicy
from pie_core.control.policy import PolicySpec
from pie_core.errors import ConfigError
from pie_core.hookspecs import hookimpl


class KOnlyOptions(msgspec.Struct, frozen=True):
    """k: how many commands of one kind make a wave due. patience_ms: milliseconds without anything new, after which
    fewer do."""

    k: int = 32
    patience_ms: float = 20.0


class KOnly(DispatchPolicy):
    """Launches when `k` commands of one kind are ready, whether the device is idle or not.

    Fewer than `k` may be all that ever comes, and nobody can know: a client, a clock or a tool may wake an inferlet at
    any time. So that nothing waits for ever, a wave is also due when the device has been idle and the inferlets quiet
    for `patience_ms`.
    """

    name = "k-only"

    def __init__(self, options: KOnlyOptions) -> None:
        if options.k < 1 or not options.patience_ms >= 0:
            raise ConfigError(f"k-only: k is {options.k}, patience_ms {options.patience_ms}; give 1 or more, 0 or more")
        self._k = options.k
        self._patience_s = options.patience_ms / 1e3
        self._quiet_since: float | None = None

    def due(self, backlog: Backlog, *, idle: bool, quiet: bool, now: float) -> bool | float:
        """When `k` are there, or all has been quiet for long enough."""
        enough = any(backlog.size(kind) >= self._k for kind in backlog.kinds())
        if enough or not (idle and quiet):
            self._quiet_since = None
            return enough
        if self._quiet_since is None:
            self._quiet_since = now
        until = self._quiet_since + self._patience_s
        if now < until:
            return until
        self._quiet_since = None
        return True


@hookimpl
def pie_dispatch() -> PolicySpec:
    return PolicySpec("k-only", "Launch when k commands of one kind are ready.", KOnly, KOnlyOptions)
