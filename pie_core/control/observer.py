"""Looking at a control layer while it works. Nothing is told, and nothing is kept, while nobody looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from pie_core.control.space import Space
from pie_core.control.submission import Submission
from pie_core.inference.wave import Wave

log = structlog.get_logger(__name__)


class Observer:
    """What `ControlLayer.observers` tells; override what is of interest.

    Called from the control thread, on its hot path: be quick, change nothing. One that raises is not called any more.
    """

    def opened(self, space: Space) -> None:
        """An inferlet has an address space."""

    def enqueued(self, submission: Submission) -> None:
        """A command was enqueued; its planned fields are filled in."""

    def begun(self, submission: Submission) -> None:
        """A command of the host, or a `Staging`, was handed to a thread."""

    def launched(self, wave: Wave[Any]) -> None:
        """A wave is on its way: submissions that were enqueued before, and transfers, which never are."""

    def completed(self, wave: Wave[Any]) -> None:
        """The device is done with a wave, in the order of their launches; those of its commands that run in steps have
        only begun. The others are settled after this."""

    def settled(self, submission: Submission) -> None:
        """A command that was enqueued is done, well or badly (`error`), whether it was ever launched or not."""

    def concluded(self, submission: Submission) -> None:
        """A command that ran in steps has ended."""


class Observers(Observer):
    """Those of one layer, as one. present: who they are, for the hot path to see that there is nobody to tell."""

    def __init__(self) -> None:
        self.present: list[Observer] = []

    def add(self, observer: Observer) -> None:
        """Tell it from now on. Idempotent."""
        if observer not in self.present:
            self.present.append(observer)

    def remove(self, observer: Observer) -> None:
        """Tell it nothing more. Idempotent."""
        if observer in self.present:
            self.present.remove(observer)

    def opened(self, space: Space) -> None:
        """See `Observer.opened`."""
        self._tell(lambda observer: observer.opened(space))

    def enqueued(self, submission: Submission) -> None:
        """See `Observer.enqueued`."""
        self._tell(lambda observer: observer.enqueued(submission))

    def begun(self, submission: Submission) -> None:
        """See `Observer.begun`."""
        self._tell(lambda observer: observer.begun(submission))

    def launched(self, wave: Wave[Any]) -> None:
        """See `Observer.launched`."""
        self._tell(lambda observer: observer.launched(wave))

    def completed(self, wave: Wave[Any]) -> None:
        """See `Observer.completed`."""
        self._tell(lambda observer: observer.completed(wave))

    def settled(self, submission: Submission) -> None:
        """See `Observer.settled`."""
        self._tell(lambda observer: observer.settled(submission))

    def concluded(self, submission: Submission) -> None:
        """See `Observer.concluded`."""
        self._tell(lambda observer: observer.concluded(submission))

    def _tell(self, say: Callable[[Observer], None]) -> None:
        for observer in tuple(self.present):
            try:
                say(observer)
            except Exception:  # a mistake of who looks must not touch what it looks at
                log.exception("observer.failed", observer=type(observer).__name__)
                self.remove(observer)
