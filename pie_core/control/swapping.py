"""Resources in host memory: who can be moved, the way out, the way back. Whom to move is the contention policy's say.

What is moved out keeps its record and its handle; only the physical index is given up, and another one is found when it
comes back. While it is out, a `Swapped` node stands in the way of every command that touches it, as an allocation does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import structlog

from pie_core.command import Command
from pie_core.control.contention import Stalled
from pie_core.control.hazards import unblock
from pie_core.control.pool import Pool
from pie_core.control.space import Space
from pie_core.control.submission import Allocation, Submission
from pie_core.errors import PieError
from pie_core.inference.backend import Swapper
from pie_core.inference.swapping import SwapIn, SwapOut
from pie_core.inference.wave import Batch
from pie_core.resource import UNBOUND, Resource

log = structlog.get_logger(__name__)


class Swapped(Allocation):
    """Resources of one inferlet that leave, are in host memory (`copy`), or come back.

    `layout` is what was moved, in the order of the copy; `writes` what of it is to be brought back. `resting`: nobody
    wants it back yet. While it is on its way, or waits for room, it counts as a use of what it moves.
    """

    __slots__ = ("copy", "kind", "layout", "resting")
    returns = True

    def __init__(self, space: Space, kind: type[Resource], records: Sequence[Resource]) -> None:
        super().__init__(space, list(records))
        self.kind = kind
        self.layout = tuple(records)
        self.copy: object = None
        self.resting = False

    @property
    def needed(self) -> bool:
        """Whether a command waits for it, or somebody else holds some of it by now, be it an export alone."""
        if any(not successor.done for successor in self.successors or ()):
            return True
        own = set(self.space.tables[self.kind].values())
        return any(record.holders > (record in own) for record in self.writes)


@dataclass(slots=True)
class Transfer:
    """One way of a `Swapped`, as an entry of a batch."""

    swapped: Swapped
    command: Command
    reads: Sequence[Resource]
    writes: Sequence[Resource]
    enqueued_at: float
    stopped: bool = False
    share: float = 0.0

    @property
    def weight(self) -> int:
        """Resources moved."""
        return self.command.weight


class Swapping:
    """What is in host memory, and on its way there and back.

    host_bytes: how much there may be. settle, drained, ready: of `Memory`. lost: told of a transfer whose resources are
    gone. Without a swapper nothing is ever moved.
    """

    def __init__(
        self,
        swapper: Swapper | None,
        host_bytes: int,
        pools: Mapping[type[Resource], Pool],
        now: Callable[[], float],
        settle: Callable[[Swapped], None],
        drained: Callable[[Resource], None],
        ready: Callable[[Submission], None],
        lost: Callable[[Transfer], None],
    ) -> None:
        self.transfers: list[Transfer] = []  # to be launched
        self.used_bytes = 0
        self.broken = ""  # why nothing is moved any more
        self._bytes_of = swapper.bytes_of if swapper is not None and host_bytes else {}
        self._host_bytes = host_bytes
        self._pools = pools
        self._now = now
        self._settle = settle
        self._drained = drained
        self._ready = ready
        self._lost = lost

    def stalled(
        self, kind: type[Resource], requester: Space, spaces: Iterable[Space], standstill: bool
    ) -> list[Stalled]:
        """See `ContentionPolicy.swap_out`. Those are left out for whom there is no host memory left."""
        if kind not in self._bytes_of or self.broken:
            return []
        now, found = self._now(), []
        for space in sorted(spaces, key=lambda space: space.arrival):
            outstanding = space.outstanding()
            if space is requester or any(one.launched or not one.blockers for one in outstanding):
                continue
            if outstanding and not standstill and (space.arrival < requester.arrival or space.has_just_returned):
                continue
            if outstanding and space.moved_in_vain and space.has_just_returned:
                continue
            movable = len(_movable(space, kind))
            if movable and self.used_bytes + movable * self._bytes_of[kind] <= self._host_bytes:
                found.append(Stalled(space, None if outstanding else now - space.active_at, movable))
        return found

    def swap_out(self, space: Space, kind: type[Resource]) -> int:
        """Send all that can be moved to host memory; how many. Its commands that wait, wait for the return, too."""
        records = _movable(space, kind)
        space.moved_in_vain = space.has_just_returned
        swapped = Swapped(space, kind, records)
        for record in records:
            record.uses += 1
            if record.writer is None or record.writer.launched:
                record.writer = swapped
        moved = set(records)
        for submission in space.outstanding():
            if not moved.isdisjoint(chain(submission.reads, submission.writes)):
                swapped.block(submission)
        space.swapped.append(swapped)
        self._pools[kind].leaving += len(records)
        self.used_bytes += len(records) * self._bytes_of[kind]
        command = SwapOut(kind, tuple([record.index for record in records]))
        self.transfers.append(Transfer(swapped, command, records, (), self._now()))
        return len(records)

    def recall(self, swapped: Swapped) -> None:
        """Have it brought back when there is room."""
        swapped.resting = False
        for record in swapped.writes:
            record.uses += 1
        self._pools[swapped.kind].wait(swapped)

    def swap_in(self, swapped: Swapped) -> None:
        """There is room, and its records have indices again."""
        index = {record: record.index for record in swapped.writes}
        command = SwapIn(swapped.kind, swapped.copy, tuple([index.get(record) for record in swapped.layout]))
        swapped.space.returned = [one for one in swapped.successors or () if not one.done]
        self.transfers.append(Transfer(swapped, command, (), swapped.writes, self._now()))

    def depart(self) -> tuple[list[Batch[Transfer]], list[Submission]]:
        """What is to be launched now, and the commands that can be launched behind it."""
        transfers, self.transfers = self.transfers, []
        batches = [
            Batch(kind, chosen)
            for kind in (SwapOut, SwapIn)
            if (chosen := [transfer for transfer in transfers if type(transfer.command) is kind])
        ]
        coming = [transfer.swapped for transfer in transfers if isinstance(transfer.command, SwapIn)]
        return batches, [ready for swapped in coming for ready in unblock(swapped) if not ready.done]

    def completed(self, transfer: Transfer, copy: object, error: PieError | None) -> None:
        """The device is done with it."""
        if isinstance(transfer.command, SwapOut):
            self._left(transfer.swapped, copy, error)
            return
        if error is not None:
            self._lost(transfer)
        self._settle(transfer.swapped)
        self.discard(transfer.swapped)

    def forget(self, swapped: Swapped, record: Resource) -> None:
        """One of its resources is gone."""
        swapped.writes = [other for other in swapped.writes if other is not record]
        if not swapped.writes:
            self.discard(swapped)

    def discard(self, swapped: Swapped) -> None:
        """The copy is not needed any more. Idempotent."""
        if swapped in swapped.space.swapped:
            swapped.space.swapped.remove(swapped)
            swapped.copy = None
            self.used_bytes -= len(swapped.layout) * self._bytes_of[swapped.kind]

    def _left(self, swapped: Swapped, copy: object, error: PieError | None) -> None:
        pool = self._pools[swapped.kind]
        pool.leaving -= len(swapped.layout)
        if error is not None:
            self._stay(swapped, error)
            return
        swapped.copy = copy
        for record in swapped.layout:
            record.uses -= 1
            if record.holders or record.uses:
                pool.give(record)
            else:
                self._drained(record)
                self.forget(swapped, record)
        if swapped.writes and swapped.needed:
            self.recall(swapped)
        else:
            swapped.resting = True

    def _stay(self, swapped: Swapped, error: PieError) -> None:
        log.warning("swap.failed", kind=swapped.kind.kind, count=len(swapped.layout), error=str(error))
        self.broken = str(error)
        for ready in unblock(swapped):
            if not ready.done:
                self._ready(ready)
        self._settle(swapped)
        self.discard(swapped)


def _movable(space: Space, kind: type[Resource]) -> list[Resource]:
    """What an inferlet that is stalled alone holds or uses, and no command on the device touches."""
    waiting = Counter(
        record
        for submission in space.outstanding()
        for record in chain(submission.reads, submission.writes)
        if type(record) is kind
    )
    held = [record for record in space.tables[kind].values() if record.holders == 1]
    left = [record for record in waiting if record.holders == 0]  # freed, but its commands have not run
    return [record for record in (*held, *left) if record.index != UNBOUND and record.uses == waiting[record]]
