"""What a queued call returns: await it, or let it be (the queue keeps the order, `synchronize` reports errors)."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from inferlet.host import Host, Ticket

T = TypeVar("T")


class Future(Generic[T]):
    """A result to come. May be awaited more than once."""

    __slots__ = ("_convert", "_host", "_ticket")

    def __init__(self, host: Host, ticket: Ticket, convert: Callable[[Any], T]) -> None:
        self._host = host
        self._ticket = ticket
        self._convert = convert

    def __await__(self) -> Generator[Any, Any, T]:
        value = yield from self._host.wait(self._ticket).__await__()
        return self._convert(value)

    @property
    def done(self) -> bool:
        """Whether the result or the error is there."""
        return self._ticket.done
