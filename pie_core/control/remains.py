"""What inferlets that have ended leave behind: commands that others still want run, and room that they wait for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pie_core.control.hazards import wanted_by_others
from pie_core.control.pool import Pool
from pie_core.control.space import Space
from pie_core.control.submission import Allocation, Submission
from pie_core.control.swapping import Swapped, Swapping
from pie_core.errors import TerminatedError
from pie_core.resource import Resource


class Remains:
    """The spaces of ended inferlets, each for as long as somebody wants what is still to be done for it.

    drop: ends a command of an ended inferlet that was not launched, or runs in steps. drained: told of a resource that
    nobody holds or uses any more.
    """

    def __init__(
        self,
        pools: Mapping[type[Resource], Pool],
        swapping: Swapping,
        drop: Callable[[Submission, TerminatedError], None],
        drained: Callable[[Resource], None],
    ) -> None:
        self._pools = pools
        self._swapping = swapping
        self._drop = drop
        self._drained = drained
        self._spaces: list[Space] = []

    def __bool__(self) -> bool:
        return bool(self._spaces)

    def add(self, space: Space) -> None:
        """Its inferlet has ended. Nothing is dropped before `clear`."""
        self._spaces.append(space)

    def occupying(self, kind: type[Resource]) -> list[Space]:
        """Those that keep physical resources of a kind from others, in the order they ended."""
        return [space for space in self._spaces if space.occupies(kind)]

    def clear(self) -> None:
        """Drop what nobody wants any more, and forget who has nothing left."""
        spaces, pools = self._spaces, self._pools.values()
        unfinished = [submission for space in spaces for submission in space.unfinished()]
        kept = wanted_by_others(unfinished)
        for submission in unfinished:
            ended = submission.queue.space.ended
            if submission not in kept and ended is not None:
                self._drop(submission, ended)
        for pool in pools:
            for allocation in [one for space in spaces for one in pool.waiting_of(space)]:
                self._abandon(allocation, pool)
        self._spaces = [
            space
            for space in spaces
            if space.unfinished() or space.swapped or any(pool.waiting_of(space) for pool in pools)
        ]

    def give_up(self, space: Space) -> None:
        """Drop its commands though somebody wants them: others cannot go on before."""
        assert space.ended is not None
        for submission in space.unfinished():
            self._drop(submission, space.ended)

    def _abandon(self, allocation: Allocation, pool: Pool) -> None:
        """What somebody still holds goes on waiting, in its place."""
        for record in allocation.writes:
            record.uses -= 1
        records, allocation.writes = allocation.writes, [r for r in allocation.writes if r.holders or r.uses]
        for record in allocation.writes:
            record.uses += 1
        for record in records:
            if not (record.holders or record.uses):
                self._drained(record)  # as `Memory.drop` counted it; it never had an index to give back
        if not allocation.writes:
            pool.forget(allocation)
            if isinstance(allocation, Swapped):
                self._swapping.discard(allocation)
