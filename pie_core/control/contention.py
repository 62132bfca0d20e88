"""Who gives way when a pool is dry: the contention policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pie_core.control.space import Space
from pie_core.resource import Resource


class ContentionPolicy(Protocol):
    """Asked when an allocation waits and less comes back by itself than is wanted."""

    name: str

    def victim(self, kind: type[Resource], requester: Space, holders: Sequence[Space]) -> Space | None:
        """Which inferlet to end next, or None to let the allocation wait.

        holders: the inferlets with resources of this kind (the requester always among them), in order of arrival.
        Asked again until enough will come back. The victim is told that it was chosen and what would have helped.
        """
        ...


class FcfsKill:
    """The default, the paper's: first come, first served; the newest inferlet gives way, be it the one that asks."""

    name = "fcfs-kill"

    def victim(self, kind: type[Resource], requester: Space, holders: Sequence[Space]) -> Space | None:
        """The newest."""
        return holders[-1]
