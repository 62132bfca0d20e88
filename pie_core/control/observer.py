"""Who wants to hear what becomes of every command and every wave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pie_core.control.submission import Submission
    from pie_core.inference.wave import Wave


class Observer(Protocol):
    """Told by a control layer, on the control thread, while it works: it must be quick, raise nothing, change nothing.

    A layer without one tests an attribute where it would tell it; nothing is made or kept for it.
    """

    def enqueued(self, submission: Submission) -> None:
        """A command was accepted."""
        ...

    def begun(self, submission: Submission) -> None:
        """A command of the host, or a `Staging`, was handed to a thread."""
        ...

    def launched(self, wave: Wave[Any]) -> None:
        """A wave is on its way: `Submission`s that were enqueued before, and `Transfer`s, which never are."""
        ...

    def completed(self, wave: Wave[Any]) -> None:
        """The device is done with a wave, in the order of their launches. Its commands are settled after this."""
        ...

    def settled(self, submission: Submission) -> None:
        """A command that was enqueued is done, well or badly (`error`), whether it was ever launched or not."""
        ...
