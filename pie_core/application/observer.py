"""Who wants to hear of inferlets that come and go, and of every call they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pie_core.application.inferlet import Inferlet


class InferletObserver(Protocol):
    """Told on the control thread: it must be quick, raise nothing, change nothing."""

    def arrived(self, inferlet: Inferlet) -> None:
        """It was launched, in the context of whoever asked for it; it may have to wait in line yet."""
        ...

    def ended(self, inferlet: Inferlet) -> None:
        """It has an `outcome`, and holds nothing any more."""
        ...

    def called(self, inferlet: Inferlet, name: str, began: float, error: str | None) -> None:
        """A call has returned, or was refused with an error of this code. began: by `now`."""
        ...

    def now(self) -> float:
        """The time, in seconds."""
        ...
