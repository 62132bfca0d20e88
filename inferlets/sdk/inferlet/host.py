"""The seam to the server: a tier gives each inferlet a host, and every call goes through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

from inferlet.errors import PieError


class Ticket(Protocol):
    """A result that may not be there yet."""

    @property
    def done(self) -> bool:
        """Whether the result or the error is there."""
        ...

    def result(self) -> Any:
        """The value, or raises the error. Only when done."""
        ...


class Host(Protocol):
    """What a tier provides. Raises the errors of `inferlet.errors`.

    idle_queues: handles that closed contexts left, by model name. Queues are few and never freed; they are used again.
    """

    idle_queues: dict[str, list[int]]

    def call(self, name: str, model: str | None, queue: int | None, arguments: Sequence[Any]) -> Any:
        """Make a call: its result, or a `Ticket`."""
        ...

    def defer(self, release: Callable[[], None]) -> None:
        """Run `release` soon, as this inferlet, between its other steps. May be called from any thread (finalizers)."""
        ...

    async def wait(self, ticket: Ticket) -> Any:
        """Suspend until a ticket is done; its result."""
        ...


current: ContextVar[Host] = ContextVar("inferlet_host")


def host() -> Host:
    """The host of the inferlet that is running."""
    try:
        return current.get()
    except LookupError:
        raise PieError(
            "this is an inferlet's code, but no inferlet is running; start it with `pie-core run PROGRAM`"
        ) from None
