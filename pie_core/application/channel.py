"""A bounded line of messages with one reader, without an event loop: the reader gets tickets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from pie_core.control.ticket import Ticket
from pie_core.errors import ArgumentError, PieError, ResourceError


class Reading(Ticket):
    """A reader's place in a line."""

    __slots__ = ("_channel",)

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def result(self) -> Any:
        """See `Ticket.result`. The message is taken for good."""
        self._channel.taken(self)
        return super().result()

    def give_up(self) -> None:
        """Leave the line: the next message, or one that came and was not taken, goes to whoever reads next."""
        self._channel.leave(self)
        self.fail(_given_up())

    def exchange(self, message: Any) -> Any:
        """Get an earlier message instead of the one that came; that one."""
        later, self.value = self.value, message
        return later

    def give_back(self, why: ArgumentError) -> Any:
        """The message that came; this read has failed then."""
        message, self.value, self.error = self.value, None, why
        return message


def _given_up() -> ArgumentError:
    return ArgumentError("this read was given up while it waited; make a new one")


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
        self._served: dict[Reading, None] = {}  # have a message that they did not take yet; in order
        self._closed: PieError | None = None

    def put(self, message: Any) -> None:
        """Hand a message to the longest-waiting reader, or keep it. Raises `ResourceError` when full."""
        if self._closed is not None:
            raise self._closed
        if len(self._messages) >= self._capacity or len(self._served) >= self._capacity:
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
        ticket = Reading(self)
        if self._messages:
            self._serve(ticket, self._messages.popleft())
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

    def taken(self, reader: Reading) -> None:
        """A reader has its message for good."""
        if reader in self._served:
            del self._served[reader]
            if self._most_bytes is not None:
                self._bytes -= self._weigh(reader.value)

    def leave(self, reader: Reading) -> None:
        """A reader gives up. If a message had come for it, each who read later gets the message before its own, and the
        last one goes to who waits, or back to the front."""
        self._readers.pop(reader, None)
        if reader not in self._served:
            return
        why = _given_up()
        served = list(self._served)  # from here on nothing is made, so no collector ends another read meanwhile
        del self._served[reader]
        message = reader.give_back(why)
        for place in range(served.index(reader) + 1, len(served)):
            message = served[place].exchange(message)
        waiting = next(iter(self._readers), None)
        if waiting is None:
            self._messages.appendleft(message)
        else:
            del self._readers[waiting]
            self._serve(waiting, message)

    def _hand_over(self, message: Any) -> None:
        if self._most_bytes is not None:
            self._bytes += self._weigh(message)
        reader = next(iter(self._readers), None)
        if reader is None:
            self._messages.append(message)
        else:
            del self._readers[reader]
            self._serve(reader, message)

    def _serve(self, reader: Reading, message: Any) -> None:
        self._served[reader] = None
        reader.resolve(message)

    def __len__(self) -> int:
        return len(self._messages)
