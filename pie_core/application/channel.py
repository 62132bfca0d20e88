"""A bounded line of messages with one reader, without an event loop: the reader gets tickets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from pie_core.control.ticket import Ticket
from pie_core.errors import ArgumentError, PieError, ResourceError


class Reading(Ticket):
    """A reader's place in a line."""

    __slots__ = ("_line",)

    def __init__(self, line: dict[Reading, None]) -> None:
        super().__init__()
        self._line = line

    def give_up(self) -> None:
        """Leave the line, so that the next message goes to somebody who still waits."""
        self._line.pop(self, None)
        self.fail(ArgumentError("this read was given up while it waited; make a new one"))


class Channel:
    """Messages arrive in order, each once. Full is an error for the sender, never unbounded memory.

    `capacity` bounds how many wait, `most_bytes` what they weigh together, as `weigh` tells it.
    """

    def __init__(
        self, name: str, capacity: int, most_bytes: int | None = None, weigh: Callable[[Any], int] = len
    ) -> None:
        self._name = name
        self._capacity = capacity
        self._most_bytes = most_bytes
        self._weigh = weigh
        self._bytes = 0
        self._messages: deque[Any] = deque()
        self._readers: dict[Reading, None] = {}  # in order; one who gives up leaves nothing behind
        self._closed: PieError | None = None

    def put(self, message: Any) -> None:
        """Hand a message to the longest-waiting reader, or keep it. Raises `ResourceError` when full."""
        if self._closed is not None:
            raise self._closed
        if len(self._messages) >= self._capacity:
            raise ResourceError(
                f"{self._name}: {self._capacity} messages wait and nobody reads them; read, or send less often"
            )
        if self._most_bytes is not None and self._bytes + self._weigh(message) > self._most_bytes:
            raise ResourceError(
                f"{self._name}: {self._bytes} bytes wait and nobody reads them, of {self._most_bytes} allowed; "
                "read, or send less"
            )
        self._hand_over(message)

    def get(self) -> Reading:
        """A ticket for the next message. After `close` the messages left are still handed out, then its error."""
        ticket = Reading(self._readers)
        if self._messages:
            message = self._messages.popleft()
            if self._most_bytes is not None:
                self._bytes -= self._weigh(message)
            ticket.resolve(message)
        elif self._closed is not None:
            ticket.fail(self._closed)
        else:
            self._readers[ticket] = None
        return ticket

    def close(self, why: PieError, last: Any = None) -> None:
        """No more messages will come, after a `last` one that is kept even when full. Idempotent."""
        if self._closed is None:
            self._closed = why
            if last is not None:
                self._hand_over(last)
            readers = list(self._readers)
            self._readers.clear()
            for reader in readers:
                reader.fail(why)

    def _hand_over(self, message: Any) -> None:
        reader = next(iter(self._readers), None)
        if reader is not None:
            del self._readers[reader]
            reader.resolve(message)
            return
        self._messages.append(message)
        if self._most_bytes is not None:
            self._bytes += self._weigh(message)

    def __len__(self) -> int:
        return len(self._messages)
