"""One enqueued command and what the control layer must remember of it until it is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pie_core.control.ticket import Ticket
from pie_core.inference.staging import Stage

if TYPE_CHECKING:
    from pie_core.command import Command
    from pie_core.control.queue import Queue
    from pie_core.control.space import Space
    from pie_core.errors import PieError
    from pie_core.resource import Resource


class Node:
    """Something that others may have to wait for: waiting (`blockers` > 0) -> ready -> launched."""

    __slots__ = ("blockers", "launched", "reads", "successors", "writes")

    def __init__(self, reads: Sequence[Resource], writes: Sequence[Resource]) -> None:
        self.reads = reads
        self.writes = writes
        self.blockers = 0
        self.successors: list[Submission] | None = None
        self.launched = False

    def block(self, successor: Submission) -> None:
        """Make `successor` wait until this one is launched."""
        successor.blockers += 1
        if self.successors is None:
            self.successors = [successor]
        else:
            self.successors.append(successor)


class Allocation(Node):
    """Resources that wait for room in their pool: fresh ones, launched when it grants them, or such as return to it."""

    __slots__ = ("space",)
    returns: ClassVar[bool] = False

    def __init__(self, space: Space, records: Sequence[Resource]) -> None:
        super().__init__((), records)
        self.space = space


class Submission(Node):
    """One enqueued command: launched, then done with a result or an error.

    running: it was launched and runs in steps, so that it counts as launched for others only when it is done. stopped:
    it is not to go on. booked: the command was concluded (`Command.conclude`).
    """

    __slots__ = (
        "barriers",
        "booked",
        "command",
        "done",
        "enqueued_at",
        "error",
        "queue",
        "running",
        "seq",
        "share",
        "stopped",
        "ticket",
        "weight",
    )

    def __init__(
        self,
        command: Command,
        queue: Queue,
        seq: int,
        reads: Sequence[Resource],
        writes: Sequence[Resource],
        enqueued_at: float,
    ) -> None:
        super().__init__(reads, writes)
        self.command = command
        self.booked = False
        self.queue = queue
        self.seq = seq
        self.enqueued_at = enqueued_at
        self.weight = command.weight
        self.ticket = Ticket()
        self.barriers: list[Barrier] | None = None
        self.done = False
        self.running = False
        self.stopped = False
        self.share = 0.0
        self.error: PieError | None = None

    @property
    def begun(self) -> bool:
        """Whether the device has it, or had."""
        return self.launched or self.running

    @property
    def wanted(self) -> bool:
        """Whether it is still to run."""
        return not self.done


class Staging(Submission):
    """What runs on the host for a command before it may run on the device. It is in no queue, and holds nothing."""

    __slots__ = ("of",)

    def __init__(self, of: Submission) -> None:
        super().__init__(Stage(of.command), of.queue, of.seq, (), (), of.enqueued_at)
        self.of = of
        self.block(of)

    @property
    def wanted(self) -> bool:
        """See `Submission.wanted`; its command may have been dropped meanwhile."""
        return not self.of.done


class Barrier:
    """A `synchronize`: done when every command enqueued before it in its queue is done."""

    __slots__ = ("outstanding", "queue", "ticket")

    def __init__(self, queue: Queue, outstanding: int) -> None:
        self.queue = queue
        self.outstanding = outstanding
        self.ticket = Ticket()

    def passed(self) -> None:
        """One of the commands is done."""
        self.outstanding -= 1
        if self.outstanding == 0:
            self.queue.report(self.ticket)
