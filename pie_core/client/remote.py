"""An inferlet on a server, as its client sees it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from pie_core import errors
from pie_core.application.events import Blob, Ended, Event, Message
from pie_core.errors import ArgumentError, PieError, ProtocolError, TerminatedError
from pie_core.server.protocol import Deliver, DeliverBlob, Stop

if TYPE_CHECKING:
    from pie_core.server.protocol import AnyReply, AnyRequest

E = TypeVar("E", Message, Blob)


class _Why(msgspec.Struct):
    code: str
    message: str


class _Refusal(msgspec.Struct):
    error: _Why


class Connection(Protocol):
    """What an inferlet needs of its client."""

    async def ask(self, make: Callable[[int], AnyRequest]) -> AnyReply:
        """Send a request with the number given; its reply."""
        ...


class RemoteInferlet:
    """Iterate over it for all events in order, `Ended` last; or ask for what you want with `receive` and `result`.

    Events that nobody has asked for yet are kept, in the memory of the client.
    """

    def __init__(self, connection: Connection, instance_id: str) -> None:
        self.id = instance_id
        self.outcome: Ended | None = None
        self._connection = connection
        self._events: deque[Event] = deque()
        self._changed = asyncio.Event()
        self._lost: PieError | None = None

    async def __aiter__(self) -> AsyncIterator[Event]:
        """The events from the oldest that was not taken yet. Raises `ProtocolError` if the server is gone."""
        while True:
            while self._events:
                yield self._events.popleft()
            if self.outcome is not None:
                return
            await self._change()

    async def send(self, text: str) -> None:
        """A text for its `receive()`. Raises `ArgumentError` if it has ended, `ResourceError` if its inbox is full."""
        await self._connection.ask(lambda number: Deliver(request=number, id=self.id, text=text))

    async def send_blob(self, data: bytes) -> None:
        """Bytes for its `receive_blob()`. Errors as for `send`."""
        await self._connection.ask(lambda number: DeliverBlob(request=number, id=self.id, data=data))

    async def receive(self) -> str:
        """Its next message; other events stay for later. Raises its error, or `TerminatedError`, if none will come."""
        return (await self._take(Message)).text

    async def receive_blob(self) -> bytes:
        """Its next blob; other events stay for later. Errors as for `receive`."""
        return (await self._take(Blob)).data

    async def result(self) -> str | None:
        """Wait for its end: what it returned. Raises its error if it did not finish. Takes no event away."""
        while self.outcome is None:
            await self._change()
        if self.outcome.status == "finished":
            return self.outcome.value
        raise error_of(self.outcome)

    async def stop(self, why: str = "stopped by its client") -> None:
        """End it. It is no error if it has ended by itself."""
        if self.outcome is not None:
            return
        try:
            await self._connection.ask(lambda number: Stop(request=number, id=self.id, why=why))
        except ArgumentError:
            return  # it has ended meanwhile

    def arrived(self, event: Event) -> None:
        """For the client: the server has sent an event."""
        self._events.append(event)
        if isinstance(event, Ended):
            self.outcome = event
        self._changed.set()

    def lost(self, why: PieError) -> None:
        """For the client: the connection is gone."""
        self._lost = why
        self._changed.set()

    async def _take(self, kind: type[E]) -> E:
        while True:
            for place, event in enumerate(self._events):
                if isinstance(event, kind):
                    del self._events[place]
                    return event
            if self.outcome is not None:
                raise error_of(self.outcome)
            await self._change()

    async def _change(self) -> None:
        if self._lost is not None:
            raise self._lost
        self._changed.clear()
        await self._changed.wait()


def error_of(ended: Ended) -> PieError:
    """How an inferlet ended, as an error for someone who expected more of it."""
    if ended.status == "finished":
        return TerminatedError("the inferlet has finished; nothing more will come")
    return error_from(ended.code or PieError.code, ended.error or f"the inferlet {ended.status}")


def refused(url: str, status: int, body: bytes | bytearray) -> PieError:
    """Why a server opened no connection: what it says itself, if it is one of ours."""
    try:
        answer = msgspec.json.decode(body, type=_Refusal).error
    except msgspec.DecodeError:
        return ProtocolError(
            f"{url} answers with HTTP {status}: it is no pie-core server, or something stands before it"
        )
    return error_from(answer.code, f"{url}: {answer.message}")


def error_from(code: str, message: str) -> PieError:
    """The error class of a code; a code that this version does not know is a plain `PieError` that keeps it."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, PieError) and kind.code == code:
            return kind(message)
    error = PieError(message)
    error.code = code
    return error
