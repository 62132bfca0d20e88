"""Runs a server from the first byte to the last: socket, model, sessions, and an orderly end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog
import uvicorn

from pie_core.application.limits import Limits
from pie_core.controller import Controller, Settings
from pie_core.inference.backend import Progress
from pie_core.server.address import is_loopback, url_of
from pie_core.server.app import make_app
from pie_core.server.interruption import Interruption
from pie_core.server.state import ServerState
from pie_core.server.tasks import task_group

log = structlog.get_logger(__name__)

Announce = Callable[[str, str], None]
"""Told the address and the model when programs can be launched."""

_FAREWELL_S = 5.0  # for clients to take what is left of their events
_PING_S = 20.0
_FRAME_OVERHEAD = 64 << 10


class EmbeddedServer(uvicorn.Server):
    """uvicorn in an event loop of ours: signals are our business, and it ends when it is told to."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


async def serve(settings: Settings, listener: socket.socket, progress: Progress, announce: Announce) -> None:
    """Serve on a listening socket until a signal asks to end. Raises `PieError` if the model cannot be loaded."""
    with Interruption(early_code=0) as interruption:
        async with serving(settings, listener, progress) as state:
            interruption.ask = state.stopping.set
            announce(url_of(listener), ", ".join(state.controller.models))
            log.info("server.ready", url=url_of(listener), models=list(state.controller.models))
            await state.stopping.wait()


@asynccontextmanager
async def serving(
    settings: Settings, listener: socket.socket, progress: Progress = lambda stage, share: None
) -> AsyncIterator[ServerState]:
    """A server whose model is loaded. It answers health checks while it loads; at the end everyone is told."""
    state = ServerState(frame_bytes(settings.limits, settings.tier == "wasm"), is_loopback(listener.getsockname()[0]))
    edge = embed(state)
    async with task_group() as group:
        group.create_task(edge.serve([listener]))
        try:
            async with Controller(settings, progress) as controller:
                await controller.application.warm_up()
                state.open(controller)
                try:
                    yield state
                finally:
                    await _end(controller, state)
        finally:
            edge.should_exit = True


def embed(state: ServerState) -> EmbeddedServer:
    """A uvicorn server over `state`; `serve([listener])` runs it, `should_exit = True` ends it."""
    return EmbeddedServer(
        uvicorn.Config(
            make_app(state),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="websockets-sansio",
            ws_max_size=2 * state.frame_bytes,  # a little over the limit gets an answer that says so
            ws_per_message_deflate=False,
            ws_ping_interval=_PING_S,
            ws_ping_timeout=_PING_S,
            timeout_graceful_shutdown=2,
        )
    )


def frame_bytes(limits: Limits, components: bool) -> int:
    """The largest frame that any request within the limits can need: a program with arguments, blobs as base64."""
    program_bytes = max(limits.program_bytes, limits.component_bytes if components else 0)
    return (limits.message_bytes + program_bytes) * 4 // 3 + _FRAME_OVERHEAD


async def _end(controller: Controller, state: ServerState) -> None:
    """Stop the inferlets and give every connection the time to say so."""
    log.info("server.stopping", inferlets=len(controller.application.inferlets))
    state.stopping.set()
    await controller.application.shut_down("the server shuts down")
    try:
        async with asyncio.timeout(_FAREWELL_S):
            await state.idle.wait()
    except TimeoutError:
        log.warning("server.clients_left", seconds=_FAREWELL_S)
