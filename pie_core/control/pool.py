"""The free list of one resource kind, and the allocations that wait for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from pie_core.control.space import Space
from pie_core.control.submission import Allocation
from pie_core.resource import UNBOUND, Resource


class Pool:
    """Physical indices 0..capacity-1 of one kind. First come, first served.

    `draining` counts those nobody holds any more but a command in flight still touches: they come back by themselves.
    """

    def __init__(self, kind: type[Resource], capacity: int) -> None:
        self.kind = kind
        self.capacity = capacity
        self.draining = 0
        self._free = list(range(capacity - 1, -1, -1))
        self._waiting: deque[Allocation] = deque()

    @property
    def free(self) -> int:
        """Indices that can be handed out now."""
        return len(self._free)

    @property
    def wanted(self) -> int:
        """How many more are needed than will come back by themselves before every waiting allocation is served."""
        asked = sum(len(allocation.writes) for allocation in self._waiting)
        return max(0, asked - self.free - self.draining)

    def take(self, records: Sequence[Resource]) -> bool:
        """Bind fresh records to free indices. False, and nothing done, if there are too few or others wait."""
        if self._waiting or len(self._free) < len(records):
            return False
        self._bind(records)
        return True

    def wait(self, allocation: Allocation) -> None:
        """Let an allocation wait its turn; `grant` says when it is served."""
        self._waiting.append(allocation)

    def give(self, record: Resource) -> None:
        """An index comes back."""
        if record.index != UNBOUND:
            self._free.append(record.index)
            record.index = UNBOUND

    def grant(self) -> list[Allocation]:
        """Bind the waiting allocations that can be served now, in order, and return them."""
        granted = []
        while self._waiting and len(self._free) >= len(self._waiting[0].writes):
            allocation = self._waiting.popleft()
            self._bind(allocation.writes)
            granted.append(allocation)
        return granted

    def forget(self, space: Space) -> list[Allocation]:
        """Drop and return the waiting allocations of an inferlet that is gone."""
        dropped = [allocation for allocation in self._waiting if allocation.space is space]
        self._waiting = deque(allocation for allocation in self._waiting if allocation.space is not space)
        return dropped

    def _bind(self, records: Sequence[Resource]) -> None:
        for record in records:
            record.index = self._free.pop()
