"""A command queue of one inferlet: its priority, what is outstanding, its first error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pie_core.control.submission import Barrier, Submission
from pie_core.control.ticket import Ticket

if TYPE_CHECKING:
    from pie_core.control.space import Space
    from pie_core.errors import PieError


class Queue:
    """Commands of a queue take effect in the order they were enqueued.

    Order is kept by what the commands touch, so that those which do not touch the same things may run side by side.
    """

    __slots__ = ("_first_error", "handle", "outstanding", "priority", "space")

    def __init__(self, handle: int, space: Space) -> None:
        self.handle = handle
        self.space = space
        self.priority = 0
        self.outstanding: dict[int, Submission] = {}  # by seq
        self._first_error: tuple[int, PieError] | None = None

    def enter(self, submission: Submission) -> None:
        """A command was enqueued."""
        self.outstanding[submission.seq] = submission

    def leave(self, submission: Submission) -> None:
        """A command is done, well or badly."""
        del self.outstanding[submission.seq]
        if submission.error is not None and (self._first_error is None or submission.seq < self._first_error[0]):
            self._first_error = submission.seq, submission.error
        for barrier in submission.barriers or ():
            barrier.passed()

    def synchronize(self) -> Ticket:
        """A ticket for the moment when all that is enqueued now is done. It raises the first error, once."""
        barrier = Barrier(self, len(self.outstanding))
        if not self.outstanding:
            self.report(barrier.ticket)
        for submission in self.outstanding.values():
            if submission.barriers is None:
                submission.barriers = []
            submission.barriers.append(barrier)
        return barrier.ticket

    def report(self, ticket: Ticket) -> None:
        """Hand the first error over, if there is one, and forget it."""
        first, self._first_error = self._first_error, None
        if first is None:
            ticket.resolve()
        else:
            ticket.fail(first[1])
