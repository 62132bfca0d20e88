"""Who waits for room in a pool, in which order they are to be served, and whether they were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pie_core.control.pool import Pool
from pie_core.control.swapping import Swapped
from pie_core.resource import UNBOUND, Resource

Rank = tuple[int, bool, int]  # of arrival (or 0), whether it is fresh, when it came


@dataclass(eq=False)
class Line:
    """An allocation that had to wait, or what waits to return from host memory. rank: the lowest is served first.

    unseen: it was not there yet at the last check, so that nobody can be said to have overtaken it.
    """

    owner: str
    rank: Rank
    records: Sequence[Resource]
    returning: Swapped | None = None
    unseen: bool = False

    @property
    def live(self) -> list[Resource]:
        """Those that somebody still wants."""
        return [record for record in self.records if record.holders or record.uses]

    @property
    def waits(self) -> bool:
        """Whether it is still to be served."""
        return any(record.index == UNBOUND for record in self.live)


class Lines:
    """Those that wait for one kind: first come, first served; or `oldest_first`, by the arrival of the inferlets."""

    def __init__(self, pool: Pool, oldest_first: bool, complain: Callable[[str], None]) -> None:
        self.waiting: list[Line] = []  # in the order in which they are to be served, as of the last check
        self._pool = pool
        self._oldest_first = oldest_first
        self._complain = complain
        self._count = 0

    def enter(self, owner: str, arrival: int, records: Sequence[Resource]) -> None:
        """An inferlet was given records: without an index they wait for room."""
        line = Line(owner, self._rank(arrival, fresh=True), records)
        if line.waits:
            self.waiting.append(line)
        elif records and any(other.waits and not other.unseen and other.rank < line.rank for other in self.waiting):
            self._complain(f"an allocation of {self._pool.kind.kind}s was served before one that waits")

    def check(self) -> None:
        """Nobody overtakes, and who is first waits no longer than there is no room."""
        self._find_returning()
        self.waiting.sort(key=lambda line: line.rank)
        name = self._pool.kind.kind
        blocked = False
        for line in self.waiting:
            if line.live and not line.waits and blocked:
                self._complain(f"an allocation of {name}s was served before one that waited longer")
            blocked |= line.waits and not line.unseen
        self.waiting = [line for line in self.waiting if line.waits]
        for line in self.waiting:
            line.unseen = False
        if self.waiting and self.needed <= self._pool.free:
            self._complain(f"an allocation of {self.needed} {name}s waits, though {self._pool.free} are free")

    @property
    def needed(self) -> int:
        """How many must be free for the first: what returns comes with what its inferlet asks for besides."""
        first, *others = self.waiting
        count = len(first.live)
        if first.returning is not None and others and others[0].owner == first.owner:
            count += len(others[0].live)
        return count

    def _find_returning(self) -> None:
        known = {line.returning for line in self.waiting}
        for node in self._pool._waiting:
            if isinstance(node, Swapped) and node not in known:
                rank = self._rank(node.space.arrival, fresh=False)
                self.waiting.append(Line(node.space.owner, rank, tuple(node.writes), node, unseen=True))

    def _rank(self, arrival: int, fresh: bool) -> Rank:
        self._count += 1
        return (arrival, fresh, self._count) if self._oldest_first else (0, False, self._count)
