"""Contention by swapping: who does not run lends its pages; the default where the backend can move them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pie_core.control.contention import ContentionPolicy, Stalled
from pie_core.control.policy import PolicySpec
from pie_core.control.space import Space
from pie_core.errors import ConfigError
from pie_core.hookspecs import hookimpl
from pie_core.resource import Resource


class SwapOptions(msgspec.Struct, frozen=True):
    """host_bytes: host memory for what is moved out; when it is full, allocations wait. idle_ms: milliseconds that an
    inferlet has waited for something outside before it is moved out."""

    host_bytes: int = 4 << 30
    idle_ms: float = 20.0


class Swap(ContentionPolicy):
    """First those who wait for something outside (for `idle_ms` at least), the longest first; then, of those who wait
    for room themselves, the newest. So the oldest inferlets run to their end, and nobody starves."""

    name = "swap"
    oldest_first = True

    def __init__(self, options: SwapOptions) -> None:
        if options.host_bytes < 1 or not options.idle_ms >= 0:
            raise ConfigError(
                f"swap: host_bytes is {options.host_bytes}, idle_ms {options.idle_ms}; give 1 or more, 0 or more"
            )
        self.host_bytes = options.host_bytes
        self._idle_s = options.idle_ms / 1e3

    def swap_out(self, kind: type[Resource], requester: Space, stalled: Sequence[Stalled]) -> Space | None:
        """Idle ones, then the newest."""
        idle = [one for one in stalled if one.idle_s is not None and one.idle_s >= self._idle_s]
        if idle:
            return max(idle, key=lambda one: one.idle_s or 0.0).space
        waiting = [one.space for one in stalled if one.idle_s is None]
        return waiting[-1] if waiting else None


SWAP = PolicySpec("swap", "Move what waiting inferlets hold to host memory, and back.", Swap, SwapOptions)


@hookimpl
def pie_contention() -> PolicySpec:
    """The default where the backend can swap."""
    return SWAP
