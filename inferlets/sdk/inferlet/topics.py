"""Subscriptions to what programs of the same user broadcast."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from inferlet.errors import PieError
from inferlet.future import Future
from inferlet.host import host


class Subscription:
    """An asynchronous iterator over the texts of a topic. Ends with `unsubscribe()`, or the `with` block it opens.

    A reader that is too slow loses what waits and gets a `ResourceError`, once; reading on is fine.
    """

    def __init__(self, topic: str, number: int) -> None:
        self.topic = topic
        self._number = number
        self._open = True

    def __repr__(self) -> str:
        return f"<Subscription to {self.topic!r}{'' if self._open else ', ended'}>"

    def receive(self) -> Future[str]:
        """The next text."""
        return Future(host(), host().call("next_message", None, None, (self._number,)), str)

    def unsubscribe(self) -> None:
        """End it. Idempotent. A loop over it ends too."""
        if self._open:
            self._open = False
            host().call("unsubscribe", None, None, (self._number,))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        if not self._open:
            raise StopAsyncIteration
        try:
            return await self.receive()
        except PieError:
            if self._open:
                raise
            raise StopAsyncIteration from None  # somebody unsubscribed while this waited

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unsubscribe()


def subscribe(topic: str) -> Subscription:
    """Get what programs of the user broadcast to a topic from now on, this program included."""
    return Subscription(topic, host().call("subscribe", None, None, (topic,)))
