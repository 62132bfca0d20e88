"""The client for asyncio: one connection, any number of inferlets over it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakValueDictionary

from msgspec.structs import replace
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from pie_core.application.program import Program
from pie_core.client.remote import RemoteInferlet, error_from, refused
from pie_core.client.targets import local_program, socket_url
from pie_core.errors import PieError, ProtocolError
from pie_core.server import protocol as p
from pie_core.server.address import DEFAULT_URL

R = TypeVar("R", bound=p.Reply)

KEY_VARIABLE = "PIE_API_KEY"
_OPEN_S = 10.0


def connect(url: str = DEFAULT_URL, api_key: str | None = None) -> Client:
    """The same as `Client(url, api_key)`."""
    return Client(url, api_key)


class Client:
    """`async with Client(url) as client`: connected inside; at the end everything that was not detached is stopped."""

    def __init__(self, url: str = DEFAULT_URL, api_key: str | None = None) -> None:
        """api_key: for a server that needs one; None: what the environment variable `PIE_API_KEY` says, if anything."""
        self.url = url
        self._api_key = api_key or os.environ.get(KEY_VARIABLE)
        self.welcome: p.Welcome | None = None  # who the server is
        self._stack = AsyncExitStack()
        self._socket: ClientConnection | None = None
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[p.AnyReply]] = {}
        self._inferlets: WeakValueDictionary[str, RemoteInferlet] = WeakValueDictionary()  # those somebody still has
        self._launched: dict[int, RemoteInferlet] = {}  # by request, until `launch` takes them
        self._lost: PieError | None = None

    async def __aenter__(self) -> Self:
        self._socket = await self._open()
        try:
            group = await self._stack.enter_async_context(asyncio.TaskGroup())
            self._stack.push_async_callback(self._socket.close)
            group.create_task(self._read(self._socket))
            self.welcome = await self._ask(p.Welcome, lambda number: p.Hello(request=number, protocol=p.PROTOCOL))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def launch(
        self,
        program: str | Path | Program,
        arguments: Sequence[str] = (),
        *,
        blobs: Sequence[bytes] = (),
        detach: bool = False,
        allow: p.Allow | None = None,
    ) -> RemoteInferlet:
        """Start a program: a `.py` or `.wasm` file of this machine, one installed on the server, or a `Program`.

        A component is sent once: next time the server knows it. Raises `ProgramError`, `TraitError`, `ResourceError`.
        A detached inferlet goes on when the client leaves. `allow`: all that it may be granted; None: what the server
        allows. `blobs`: for its `receive_blob()`, there before it begins.
        """
        sent = local_program(program)
        digest = None if sent is None or sent.wasm is None else await asyncio.to_thread(lambda: sent.digest)

        def launch(number: int) -> p.Launch:
            return p.Launch(
                request=number,
                name=sent.name if sent else str(program),
                source=sent.source if sent and sent.wasm is None else None,
                filename=sent.filename if sent else None,
                arguments=list(arguments),
                blobs=list(blobs),
                detach=detach,
                allow=allow,
                digest=digest,
            )

        reply = await self.ask(launch)
        if isinstance(reply, p.Wanted):
            assert sent is not None
            reply = await self.ask(lambda number: replace(launch(number), component=sent.wasm, digest=None))
        return self._launched.pop(self._expect(p.Launched, reply).request)

    async def attach(self, instance_id: str) -> RemoteInferlet:
        """Read the events of a detached inferlet. Raises `ArgumentError` if it is not running or has a reader."""
        inferlet = self._inferlets[instance_id] = RemoteInferlet(self, instance_id)
        await self._ask(p.Done, lambda number: p.Attach(request=number, id=instance_id))
        return inferlet

    async def list(self) -> list[dict[str, Any]]:
        """Facts about all inferlets of the server, oldest first."""
        return (await self._ask(p.Listing, lambda number: p.List(request=number))).inferlets

    async def stop(self, instance_id: str, why: str = "stopped by a client") -> None:
        """End an inferlet, whoever launched it. Raises `ArgumentError` if it is not running."""
        await self._ask(p.Done, lambda number: p.Stop(request=number, id=instance_id, why=why))

    async def ping(self) -> None:
        """Wait for an answer of the server."""
        await self._ask(p.Done, lambda number: p.Ping(request=number))

    async def ask(self, make: Callable[[int], p.AnyRequest]) -> p.AnyReply:
        """Send a request with the number given; its reply. Raises the error that it is."""
        if self._lost is not None:
            raise self._lost
        assert self._socket is not None, "use it as `async with Client(url) as client`"
        number = next(self._numbers)
        frame = p.encode(make(number), text=False)
        self._check_size(frame)
        reply = self._waiting[number] = asyncio.get_running_loop().create_future()
        reply.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, even if `send` fails first
        try:
            await self._socket.send(frame)
            outcome: p.AnyReply = await reply
            return outcome
        except ConnectionClosed as error:
            raise self._gone(error) from error
        finally:
            del self._waiting[number]

    async def _ask(self, kind: type[R], make: Callable[[int], p.AnyRequest]) -> R:
        return self._expect(kind, await self.ask(make))

    def _expect(self, kind: type[R], reply: p.AnyReply) -> R:
        if not isinstance(reply, kind):
            raise ProtocolError(f"{self.url} answers with {type(reply).__name__} where {kind.__name__} is due")
        return reply

    async def _open(self) -> ClientConnection:
        try:
            return await open_socket(
                socket_url(self.url),
                additional_headers={"Authorization": f"Bearer {self._api_key}"} if self._api_key else None,
                compression=None,
                max_size=None,
                open_timeout=_OPEN_S,
                proxy=None,
            )
        except InvalidStatus as error:
            raise refused(self.url, error.response.status_code, error.response.body or b"") from error
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, EOFError) as error:
            why = f"no pie-core server answers at {self.url}: {error or type(error).__name__}"
            raise ProtocolError(f"{why}; start one with `pie-core serve`, or name another") from error

    async def _read(self, socket: ClientConnection) -> None:
        try:
            while True:
                self._dispatch(p.decode_reply(await socket.recv()))
        except ConnectionClosed as error:
            self._lose(self._gone(error))
        except PieError as error:
            self._lose(error)

    def _dispatch(self, reply: p.AnyReply) -> None:
        match reply:
            case p.Event(id=instance_id, event=event):
                if (inferlet := self._inferlets.get(instance_id)) is not None:
                    inferlet.arrived(event)
            case p.Error(request=None, code=code, message=message):
                raise error_from(code, message)
            case p.Error(request=number, code=code, message=message):
                self._settle(number, error_from(code, message))
            case p.Launched(request=number, id=instance_id) if number in self._waiting:
                # made here and not by `launch`, which the first events overtake
                self._inferlets[instance_id] = self._launched[number] = RemoteInferlet(self, instance_id)
                self._settle(number, reply)
            case _:
                self._settle(reply.request, reply)

    def _settle(self, number: int | None, outcome: p.AnyReply | PieError) -> None:
        waiting = self._waiting.get(number or 0)
        if waiting is None or waiting.done():
            return  # whoever asked has been cancelled
        if isinstance(outcome, PieError):
            waiting.set_exception(outcome)
        else:
            waiting.set_result(outcome)

    def _lose(self, why: PieError) -> None:
        self._lost = why
        for inferlet in list(self._inferlets.values()):
            inferlet.lost(why)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(why)

    def _gone(self, error: ConnectionClosed) -> PieError:
        reason = error.rcvd.reason or f"code {error.rcvd.code}" if error.rcvd else "it did not say why"
        return ProtocolError(f"the server {self.url} has closed the connection: {reason}")

    def _check_size(self, frame: p.Frame) -> None:
        limit = self.welcome.frame_bytes if self.welcome else len(frame)
        if len(frame) > limit:
            raise ProtocolError(f"the request has {len(frame)} bytes, {self.url} takes {limit}; send less, or in parts")
