"""Who gives way when a pool is dry: the contention policy, and the paper's."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pie_core.control.policy import PolicySpec
from pie_core.control.space import Space
from pie_core.hookspecs import hookimpl
from pie_core.resource import Resource


@dataclass(frozen=True)
class Stalled:
    """An inferlet that has nothing ready to run and nothing on the device, and what it could lend.

    idle_s: for how long it has enqueued nothing, as it waits for a client, a clock, a tool; None if it has, and all of
    it waits for room. movable: how many of its resources could be moved to host memory now.
    """

    space: Space
    idle_s: float | None
    movable: int


class ContentionPolicy(ABC):
    """Decides whom; the mechanism is `control/memory.py` and `control/swapping.py`. This one lets everybody wait.

    host_bytes: how much host memory swapped resources may fill; 0: nothing is ever moved there.
    oldest_first: who waits for room is served in order of the arrival of the inferlets, not of the requests.
    cycle_s: how long nothing at all must have moved before a cycle of waits is broken.
    """

    name: ClassVar[str]
    host_bytes: int = 0
    oldest_first: bool = False
    cycle_s: float = 0.25

    def victim(self, kind: type[Resource], requester: Space, holders: Sequence[Space]) -> Space | None:
        """Which inferlet to end at once, or None to let the allocation wait.

        Asked in the middle of an allocation for which less will come back by itself than is wanted, and again until
        enough will. holders: the inferlets with resources of this kind (the requester always among them), in order of
        arrival. The victim is told that it was chosen and what would have helped.
        """
        return None

    def swap_out(self, kind: type[Resource], requester: Space, stalled: Sequence[Stalled]) -> Space | None:
        """Whose resources of this kind to move to host memory, so that `requester` gets on; None: nobody's.

        Asked when all inferlets that could run have run, and again until enough will come back. stalled: those that
        can be moved: idle, or waiting for room themselves and younger than the requester; in order of arrival. Not
        among them, but for when nothing moves any more: one that was brought back and has not run since; and not twice.
        """
        return None

    def break_cycle(self, kind: type[Resource], waiting: Sequence[Space]) -> Space:
        """Which inferlet to end, because all that hold something wait for more. waiting: those, in order of arrival."""
        return waiting[-1]


class FcfsKill(ContentionPolicy):
    """The paper's: first come, first served; the newest inferlet gives way, be it the one that asks."""

    name = "fcfs-kill"

    def victim(self, kind: type[Resource], requester: Space, holders: Sequence[Space]) -> Space | None:
        """The newest."""
        return holders[-1]


FCFS_KILL = PolicySpec("fcfs-kill", "End the newest inferlet when a pool is dry.", lambda options: FcfsKill())


@hookimpl
def pie_contention() -> PolicySpec:
    """The default where the backend cannot swap."""
    return FCFS_KILL
