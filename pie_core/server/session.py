"""One connection: reads requests one after the other, writes replies and the events of many inferlets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from pie_core.application.capabilities import Capabilities
from pie_core.application.inferlet import Inferlet
from pie_core.application.program import Program, only_sandboxed
from pie_core.errors import ArgumentError, AuthenticationError, PieError, ProtocolError
from pie_core.server import protocol as p
from pie_core.server.access import caller_of
from pie_core.server.events import events_of
from pie_core.server.state import ServerState
from pie_core.version import __version__

log = structlog.get_logger(__name__)

GOING_AWAY, KEY_REFUSED, TOO_BIG, TRY_LATER = 1001, 1008, 1009, 1013
_NOT_COUNTED = (p.Hello, p.Stop)  # so that a user over the quota can still end what runs


class Session:
    """Lives in one task group; when the client has gone, what it launched and did not detach is stopped."""

    def __init__(self, socket: WebSocket, state: ServerState) -> None:
        self._socket = socket
        self._state = state
        self._caller = caller_of(socket)
        self._text: bool | None = None  # the format of the first frame
        self._owned: set[Inferlet] = set()
        self._readers: set[asyncio.Task[None]] = set()
        self._answers: dict[type[Any], Callable[[Any], Awaitable[None]]] = {
            p.Hello: self._hello,
            p.Launch: self._launch,
            p.Deliver: self._deliver,
            p.DeliverBlob: self._deliver_blob,
            p.Attach: self._attach,
            p.Stop: self._stop,
            p.List: self._list,
            p.Ping: self._ping,
        }

    async def run(self) -> None:
        """Serve the connection until the client or the server ends it."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                farewell = group.create_task(self._farewell())
                await self._receive()
                farewell.cancel()
                for reader in self._readers:
                    reader.cancel()
        finally:
            for inferlet in self._owned:
                self._state.controller.application.stop(inferlet, "its client has disconnected")

    async def _receive(self) -> None:
        while (message := await self._socket.receive())["type"] == "websocket.receive":
            frame = message.get("text")
            if frame is None:
                frame = message["bytes"]
            if self._text is None:
                self._text = isinstance(frame, str)
            try:
                if len(frame) > self._state.frame_bytes:
                    await self._close(TOO_BIG, f"a frame of {len(frame)} is over {self._state.frame_bytes} bytes")
                else:
                    await self._answer(frame)
            except (WebSocketDisconnect, WebSocketDisconnected):
                return

    async def _answer(self, frame: p.Frame) -> None:
        number = None
        try:
            request = p.decode_request(frame)
            number = request.request
            self._check(request)
            await self._answers[type(request)](request)
        except p.FrameError as error:
            await self._send(p.error_reply(error.request, error))
        except AuthenticationError as error:
            await self._send(p.error_reply(number, error))
            await self._close(KEY_REFUSED, str(error))
        except PieError as error:
            await self._send(p.error_reply(number, error))
        except (WebSocketDisconnect, WebSocketDisconnected):
            raise
        except Exception as error:  # a bug of ours must not take the connection's other inferlets with it
            log.exception("request.crashed", request=type(request).__name__)
            failure = PieError(f"the server failed at this request, see its log: {type(error).__name__}: {error}")
            await self._send(p.error_reply(number, failure))

    def _check(self, request: p.AnyRequest) -> None:
        """Raise if the key was removed or has expired meanwhile, or if this is one request too many."""
        self._state.access.caller(self._socket.headers)
        if not isinstance(request, _NOT_COUNTED):
            self._state.admit(self._caller)

    async def _send(self, message: p.AnyReply) -> None:
        frame = p.encode(message, bool(self._text))
        if isinstance(frame, str):
            await self._socket.send_text(frame)
        else:
            await self._socket.send_bytes(frame)

    async def _close(self, code: int, reason: str) -> None:
        await self._socket.close(code, reason)

    async def _farewell(self) -> None:
        """When the server stops: every event that is left, then a close that says why."""
        await self._state.stopping.wait()
        if self._readers:
            await asyncio.wait(self._readers)
        try:
            await self._close(GOING_AWAY, "the server shuts down")
        except (WebSocketDisconnect, WebSocketDisconnected):
            return  # the client was quicker

    async def _forward(self, inferlet: Inferlet) -> None:
        """Send the events of an inferlet; waits for the client as long as the connection lives."""
        try:
            async for event in events_of(inferlet):
                await self._send(p.Event(id=inferlet.id, event=event))
            self._owned.discard(inferlet)
        except (WebSocketDisconnect, WebSocketDisconnected):
            return  # `_receive` sees it, too
        finally:
            self._state.readers.discard(inferlet.id)

    def _read(self, inferlet: Inferlet) -> None:
        self._state.readers.add(inferlet.id)
        reader = self._group.create_task(self._forward(inferlet))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)

    async def _hello(self, hello: p.Hello) -> None:
        if hello.protocol != p.PROTOCOL:
            raise ProtocolError(
                f"the server ({__version__}) speaks protocol {p.PROTOCOL}, the client {hello.protocol}; "
                "install the same version of pie-core on both sides"
            )
        await self._send(
            p.Welcome(
                request=hello.request,
                server=__version__,
                protocol=p.PROTOCOL,
                models=list(self._state.controller.models),
                frame_bytes=self._state.frame_bytes,
            )
        )

    async def _launch(self, launch: p.Launch) -> None:
        self._state.check_accepting()
        program = self._program(launch)
        if program is None:
            assert launch.digest is not None
            await self._send(p.Wanted(request=launch.request, digest=launch.digest))
            return
        allowed = None if launch.allow is None else Capabilities.of(launch.allow.hosts, launch.allow.spawn)
        application = self._state.controller.application
        inferlet = await application.launch(program, launch.arguments, self._caller.user, allowed, launch.blobs)
        if program.wasm is not None:
            self._state.uploaded.add(self._caller.user, program.digest, program.wasm)
        if not launch.detach:
            self._owned.add(inferlet)
        await self._send(p.Launched(request=launch.request, id=inferlet.id))
        self._read(inferlet)

    def _program(self, launch: p.Launch) -> Program | None:
        """What is to be launched; None if it is a component of which only the digest was sent and is not known."""
        given = [name for name in ("source", "component", "digest") if getattr(launch, name) is not None]
        if not given:
            return self._state.installed_program(launch.name)
        if len(given) > 1:
            raise ProtocolError(f"a launch has one of source, component and digest; this one has {' and '.join(given)}")
        filename = launch.filename or launch.name
        if launch.source is not None:
            return Program(launch.name, launch.source, filename)
        if not self._state.controller.application.isolates:
            raise only_sandboxed(filename)
        wasm = launch.component
        if wasm is None:
            wasm = self._state.uploaded.get(self._caller.user, launch.digest or "")
        return None if wasm is None else Program(launch.name, "", filename, wasm)

    async def _attach(self, attach: p.Attach) -> None:
        inferlet = self._find(attach.id, self._caller.user)
        if inferlet.parent is not None:
            raise ArgumentError(f"inferlet {attach.id!r} is a child of {inferlet.parent.id}, which gets its texts")
        if inferlet.id in self._state.readers:
            raise ArgumentError(f"a connection reads the events of inferlet {attach.id!r} already; only one can")
        await self._send(p.Done(request=attach.request))
        self._read(inferlet)

    async def _deliver(self, deliver: p.Deliver) -> None:
        self._find(deliver.id, self._caller.user).deliver(deliver.text)
        await self._send(p.Done(request=deliver.request))

    async def _deliver_blob(self, deliver: p.DeliverBlob) -> None:
        self._find(deliver.id, self._caller.user).deliver(deliver.data)
        await self._send(p.Done(request=deliver.request))

    async def _stop(self, stop: p.Stop) -> None:
        self._state.controller.application.stop(self._find(stop.id, self._caller.sees), stop.why)
        await self._send(p.Done(request=stop.request))

    async def _list(self, listing: p.List) -> None:
        inferlets = [dict(facts) for facts in self._state.controller.application.list(self._caller.sees)]
        await self._send(p.Listing(request=listing.request, inferlets=inferlets))

    async def _ping(self, ping: p.Ping) -> None:
        await self._send(p.Done(request=ping.request))

    def _find(self, instance_id: str, user: str | None) -> Inferlet:
        return self._state.controller.application.find(instance_id, user)
