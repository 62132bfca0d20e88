"""How commands end: with a result, with an error, refused when their turn comes, or dropped with their inferlet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pie_core.control.hazards import unblock
from pie_core.control.memory import Memory
from pie_core.control.observer import Observers
from pie_core.control.poison import Poison
from pie_core.control.submission import Staging, Submission
from pie_core.control.swapping import Transfer
from pie_core.errors import PieError, TerminatedError
from pie_core.inference.running import device_error
from pie_core.inference.wave import Batch, Wave


class Completion:
    """Ends each command once: poison is spread or healed, what it used is let go, its queue and its ticket are told.

    Nothing is granted here to who waits for room: that is for the caller, when all that ended together has.
    ready: told of a command that waits for nothing any more.
    """

    def __init__(
        self, memory: Memory, poison: Poison, observers: Observers, ready: Callable[[Submission], None]
    ) -> None:
        self.running = 0  # commands that run in steps
        self._unstaged = 0  # commands that wait and whose part on the host has failed
        self._memory = memory
        self._poison = poison
        self._observers = observers
        self._ready = ready

    @property
    def may_refuse(self) -> bool:
        """Whether there may be a command to `refuse`: if nothing has failed there is none."""
        return bool(self._poison.by_id or self._unstaged)

    def refuse(self, submission: Submission) -> bool:
        """Of a command that is about to start: whether it must not, and has been failed instead."""
        error = submission.error or self._poison.error_for(submission)
        if error is None:
            self._poison.heal(submission)
            return False
        self._fail(submission, error)
        return True

    def launched(self, wave: Wave[Any]) -> None:
        """A wave is on its way: its commands that run in steps count as running until each is done."""
        self.running += sum(len(batch.entries) for batch in wave.batches if batch.kind.stepwise)

    def complete(self, batch: Batch[Any]) -> None:
        """The device is done with a batch. Of commands that run in steps it has only begun them."""
        for place, submission in enumerate(batch.entries):
            error = batch.errors.get(place) if batch.errors else None
            if isinstance(submission, Transfer):
                self._memory.swapping.completed(submission, batch.results[place], error)
            elif error is not None:
                self._fail(submission, error)
            elif not batch.kind.stepwise:
                if self._poison.by_id:
                    self._poison.heal(submission)
                self._finish(submission, batch.results[place])

    def staged(self, stage: Staging, error: PieError | None) -> None:
        """The part on the host has run. One that failed still takes its turn: what is behind it counts on that."""
        if error is not None and stage.wanted:
            stage.of.error = error
            self._unstaged += 1
        for submission in unblock(stage):
            self._ready(submission)

    def conclude(self, submission: Submission, result: Any, error: PieError | None) -> None:
        """A command of the host has run, or one has taken its last step: what waits for it may go on now."""
        error = error or self._book(submission, result)
        if error is not None:
            self._fail(submission, error)
            return
        if self._poison.by_id:
            self._poison.heal(submission)
        for successor in unblock(submission):
            if not successor.done:
                self._ready(successor)
        self._finish(submission, result)

    def drop(self, submission: Submission, ended: TerminatedError) -> None:
        """Of an ended inferlet: it will not run. What runs in steps is stopped at the next one, and ends by itself."""
        if submission.running:
            submission.stopped = True
        else:
            self._fail(submission, ended)

    def _finish(self, submission: Submission, result: Any) -> None:
        submission.done = True
        self._settle(submission, result)
        submission.queue.leave(submission)
        submission.ticket.resolve(result)

    def _fail(self, submission: Submission, error: PieError) -> None:
        """A command failed, or will never run: what it should have written is poisoned, its successors go on."""
        self._unstaged -= submission.error is not None
        submission.done, submission.error = True, error
        self._poison.spread(submission)
        if not submission.launched:
            for successor in unblock(submission):
                if not successor.done:
                    self._ready(successor)
        self._settle(submission, None)
        submission.queue.leave(submission)
        submission.ticket.fail(error)

    def _settle(self, submission: Submission, result: Any) -> None:
        if submission.command.stepwise:
            self.running -= submission.running
            submission.running = False
            self._book(submission, result)
        if self._observers.present:
            self._observers.settled(submission)
        self._memory.settle(submission)

    def _book(self, submission: Submission, result: Any) -> PieError | None:
        """Have a command that runs in steps bring the books up to what it has done, once. Its error is its alone."""
        if submission.booked or not submission.command.stepwise:
            return None
        submission.booked = True
        try:
            submission.command.conclude(result)
        except Exception as error:
            return device_error(submission.command, error, "host")
        return None
