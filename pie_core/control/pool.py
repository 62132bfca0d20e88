"""The free list of one resource kind, and the allocations that wait for it."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush

from pie_core.control.space import Space
from pie_core.control.submission import Allocation
from pie_core.resource import UNBOUND, Resource


class Pool:
    """Physical indices 0..capacity-1 of one kind. First come, first served; or `oldest_first`, by inferlet.

    The lowest are handed out first, in rising order, so that what is allocated together lies together as far as it
    can: memory is read faster so.

    `draining` counts those nobody holds any more but a command in flight still touches: they come back by themselves.
    `leaving` counts those that are on their way to host memory.
    """

    def __init__(self, kind: type[Resource], capacity: int, oldest_first: bool = False) -> None:
        self.kind = kind
        self.capacity = capacity
        self.draining = 0
        self.leaving = 0
        self._oldest_first = oldest_first
        self._free = list(range(capacity))  # a heap
        self._waiting: deque[Allocation] = deque()

    @property
    def free(self) -> int:
        """Indices that can be handed out now."""
        return len(self._free)

    @property
    def free_indices(self) -> Sequence[int]:
        """Those indices, for audits."""
        return tuple(self._free)

    @property
    def wanted(self) -> int:
        """How many more are needed than will come back by themselves before every waiting allocation is served."""
        asked = sum(len(allocation.writes) for allocation in self._waiting)
        return max(0, asked - self.free - self.draining)

    @property
    def head(self) -> Allocation | None:
        """Who is served next."""
        return self._waiting[0] if self._waiting else None

    @property
    def lacking(self) -> int:
        """How many more must be free before the next one is served."""
        return max(0, self._needed() - self.free) if self._waiting else 0

    @property
    def has_room_for_head(self) -> bool:
        """Whether the next one could be served by itself, whatever it is to come with."""
        return bool(self._waiting) and len(self._waiting[0].writes) <= self.free

    def take(self, records: Sequence[Resource]) -> bool:
        """Bind fresh records to free indices. False, and nothing done, if there are too few or others wait."""
        if self._waiting or len(self._free) < len(records):
            return False
        self._bind(records)
        return True

    def wait(self, allocation: Allocation) -> None:
        """Let an allocation wait its turn: it is served when it is the `head` and nothing is `lacking`."""
        if self._oldest_first:
            insort(self._waiting, allocation, key=_rank)
        else:
            self._waiting.append(allocation)

    def give(self, record: Resource) -> None:
        """An index comes back."""
        if record.index != UNBOUND:
            heappush(self._free, record.index)
            record.index = UNBOUND

    def serve(self) -> Allocation:
        """Bind and return the allocation that is next; there is room for it."""
        allocation = self._waiting.popleft()
        self._bind(allocation.writes)
        return allocation

    def waiting_of(self, space: Space) -> list[Allocation]:
        """The waiting allocations of an inferlet."""
        return [allocation for allocation in self._waiting if allocation.space is space]

    def forget(self, allocation: Allocation) -> None:
        """It waits no more."""
        self._waiting.remove(allocation)

    def _needed(self) -> int:
        """What returns comes together with what the inferlet asks for besides, or it would only wait again."""
        first = self._waiting[0]
        count = len(first.writes)
        if first.returns and len(self._waiting) > 1 and self._waiting[1].space is first.space:
            count += len(self._waiting[1].writes)
        return count

    def _bind(self, records: Sequence[Resource]) -> None:
        for record in records:
            record.index = heappop(self._free)


def _rank(allocation: Allocation) -> tuple[int, bool]:
    return allocation.space.arrival, not allocation.returns
