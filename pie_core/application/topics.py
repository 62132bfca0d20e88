"""Broadcasts: what a program tells all programs of its user that have subscribed to a topic.

A message goes to who is subscribed at that moment, and is kept for a reader that is busy, up to a bound. Beyond it all
that waits is dropped, and the reader's next read is an error that says how much; the others notice nothing.
"""

from __future__ import annotations

from pie_core.application.channel import Channel, Reading
from pie_core.application.limits import Limits
from pie_core.control.ticket import Ticket
from pie_core.errors import ArgumentError, HandleError, ResourceError

LONGEST_NAME = 512  # bytes


class Subscription:
    """One reader of one topic."""

    def __init__(self, topic: str, limits: Limits) -> None:
        self.topic = topic
        self._limits = limits
        self._lost = 0
        self._waiting = self._empty()

    def put(self, message: str) -> None:
        """Hand it to a reader, or keep it. If there is no room, all that waits is lost."""
        try:
            self._waiting.put(message)
        except ResourceError:
            self._lost += len(self._waiting) + 1
            self._waiting = self._empty()  # nobody waits where messages do

    def get(self) -> Ticket | Reading:
        """A ticket for the next message; for an error if some were lost since the last read."""
        if not self._lost:
            return self._waiting.get()
        ticket = Ticket()
        ticket.fail(
            ResourceError(
                f"topic {self.topic!r:.60}: {self._lost} messages were lost, because they were not read in time "
                "(limits `mail_messages` and `mail_bytes`); the next read goes on with what came after them"
            )
        )
        self._lost = 0
        return ticket

    def close(self) -> None:
        """Nothing comes any more; those who wait get an error."""
        self._waiting.close(ArgumentError(f"topic {self.topic!r:.60}: the subscription has ended"))

    def _empty(self) -> Channel:
        return Channel(f"topic {self.topic!r:.60}", self._limits.mail_messages, self._limits.mail_bytes)


class Topics:
    """The subscriptions of all inferlets, by user and topic. Control thread only."""

    def __init__(self) -> None:
        self._readers: dict[tuple[str, str], dict[Subscription, None]] = {}

    def __len__(self) -> int:
        """How many subscriptions there are."""
        return sum(map(len, self._readers.values()))

    def broadcast(self, user: str, topic: str, message: str) -> None:
        """To everyone of this user who is subscribed now, in the order in which they subscribed."""
        for reader in list(self._readers.get((user, topic), ())):
            reader.put(message)

    def add(self, user: str, subscription: Subscription) -> None:
        """It gets what is broadcast from now on."""
        self._readers.setdefault((user, subscription.topic), {})[subscription] = None

    def remove(self, user: str, subscription: Subscription) -> None:
        """It gets nothing any more."""
        readers = self._readers[user, subscription.topic]
        del readers[subscription]
        if not readers:
            del self._readers[user, subscription.topic]


class Subscriptions:
    """Those of one inferlet, by the numbers that it knows them by."""

    def __init__(self, topics: Topics, user: str, limits: Limits) -> None:
        self._topics = topics
        self._user = user
        self._limits = limits
        self._open: dict[int, Subscription] = {}
        self._last = 0

    def subscribe(self, topic: str) -> int:
        """A number for a new subscription. Raises `ArgumentError`, `ResourceError`."""
        check_name(topic)
        if len(self._open) >= self._limits.subscriptions:
            raise ResourceError(
                f"subscribe: the inferlet has {len(self._open)} subscriptions, the most allowed (limit "
                "`subscriptions`); unsubscribe from one first"
            )
        subscription = Subscription(topic, self._limits)
        self._topics.add(self._user, subscription)
        self._last += 1
        self._open[self._last] = subscription
        return self._last

    def find(self, number: int) -> Subscription:
        """By its number. Raises `HandleError`."""
        try:
            return self._open[number]
        except KeyError:
            raise HandleError(f"{number} is no subscription of this inferlet, or has ended") from None

    def unsubscribe(self, number: int) -> None:
        """End one. Raises `HandleError`."""
        subscription = self.find(number)
        del self._open[number]
        self._topics.remove(self._user, subscription)
        subscription.close()

    def close(self) -> None:
        """End all."""
        for number in list(self._open):
            self.unsubscribe(number)


def check_name(topic: str) -> None:
    """Raise `ArgumentError` for what cannot be a topic's name."""
    size = len(topic.encode())
    if not 0 < size <= LONGEST_NAME:
        raise ArgumentError(f"a topic's name of {size} bytes; 1 to {LONGEST_NAME} are allowed")
