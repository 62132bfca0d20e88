"""Commands that run on the host, beside the device, and what staged ones have to do there: who is next on a thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from pie_core.control.submission import Submission
from pie_core.inference.device import WORKERS, Device

if TYPE_CHECKING:
    from pie_core.control.space import Space
    from pie_core.errors import PieError


class HostWork:
    """The commands of the host that are ready, and those at work: one of an inferlet at a time, inferlets in turn.

    So a program whose commands are slow takes one thread at most. refuse: asked before a command starts, True if it has
    failed it instead. done: told of each that ran, unless its inferlet has ended meanwhile. begun: told of each before.
    """

    def __init__(
        self,
        device: Device,
        refuse: Callable[[Submission], bool],
        done: Callable[[Submission, Any, PieError | None], None],
        begun: Callable[[Submission], None],
    ) -> None:
        self._device = device
        self._refuse = refuse
        self._done = done
        self._begun = begun
        self._lines: dict[Space, deque[Submission]] = {}  # whose turn comes first, first
        self._at_work: set[Space] = set()
        self._starting = False

    def __bool__(self) -> bool:
        """Whether anything is at work or about to be."""
        return bool(self._at_work or self._lines)

    def add(self, submission: Submission) -> None:
        """Nothing stands before this command any more."""
        self._lines.setdefault(submission.queue.space, deque()).append(submission)
        self._start()

    def _start(self) -> None:
        if self._starting:  # a refused command may make others ready, which come in turn
            return
        self._starting = True
        while len(self._at_work) < WORKERS and (submission := self._next()) is not None:
            self._at_work.add(submission.queue.space)
            self._begun(submission)
            self._device.work(submission.command, partial(self._finished, submission))
        self._starting = False

    def _next(self) -> Submission | None:
        """The next command of the inferlet whose turn it is."""
        while (space := next((space for space in self._lines if space not in self._at_work), None)) is not None:
            line = self._lines[space]
            submission = line.popleft()
            if not line:
                del self._lines[space]
            if submission.wanted and not self._refuse(submission):
                return submission
        return None

    def _finished(self, submission: Submission, result: Any, error: PieError | None) -> None:
        space = submission.queue.space
        self._at_work.discard(space)
        if (line := self._lines.pop(space, None)) is not None:
            self._lines[space] = line  # behind everyone else's
        if submission.wanted:
            self._done(submission, result, error)
        self._start()
