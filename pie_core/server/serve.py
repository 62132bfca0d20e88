"""Runs a server from the first byte to the last: socket, model, sessions, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog
import uvicorn
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from pie_core.application.limits import Limits
from pie_core.controller import Controller, Settings
from pie_core.inference.backend import Progress
from pie_core.server.access import Access
from pie_core.server.address import is_loopback, url_of
from pie_core.server.app import make_app
from pie_core.server.http import Endpoints
from pie_core.server.interruption import Interruption
from pie_core.server.metrics import CoreCollector
from pie_core.server.routes import Gate, load_routes
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


async def serve(
    settings: Settings,
    listener: socket.socket,
    progress: Progress,
    announce: Announce,
    drain_s: float = 0.0,
    access: Access | None = None,
) -> None:
    """Serve on a listening socket until a signal asks to end. Raises `PieError` if the model cannot be loaded.

    drain_s: what runs when SIGTERM comes has so long to end by itself. access: who may use it; None: everybody.
    """
    patience_s = 0.0

    def ask(number: int) -> None:
        nonlocal patience_s
        patience_s = drain_s if number == signal.SIGTERM else 0.0
        state.closing.set()

    with Interruption(early_code=0) as interruption:
        async with serving(settings, listener, progress, access) as state:
            interruption.ask = ask
            announce(url_of(listener), ", ".join(state.controller.models))
            log.info("server.ready", url=url_of(listener), models=list(state.controller.models))
            await state.closing.wait()
            if patience_s and state.controller.application.inferlets:
                log.info("server.draining", inferlets=len(state.controller.application.inferlets), seconds=patience_s)
                await state.controller.application.drain(patience_s)


@asynccontextmanager
async def serving(
    settings: Settings,
    listener: socket.socket,
    progress: Progress = lambda stage, share: None,
    access: Access | None = None,
) -> AsyncIterator[ServerState]:
    """A server whose model is loaded. It answers health checks while it loads; at the end everyone is told."""
    local = is_loopback(listener.getsockname()[0])
    state = ServerState(largest_frame(settings.limits, settings.tier == "wasm"), local, access)
    metrics = CollectorRegistry()
    metrics.register(CoreCollector(state))
    core = Endpoints(state, metrics).routes()
    routes = await asyncio.to_thread(load_routes, settings.selection, Gate(state, metrics), core)
    edge = embed(make_app(state, routes), state.frame_bytes)
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


def embed(app: ASGIApp, frame_bytes: int) -> EmbeddedServer:
    """A uvicorn server; `serve([listener])` runs it, `should_exit = True` ends it."""
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    return EmbeddedServer(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="websockets-sansio",
            ws_max_size=2 * frame_bytes,  # a little over the limit gets an answer that says so
            ws_per_message_deflate=False,
            ws_ping_interval=_PING_S,
            ws_ping_timeout=_PING_S,
            timeout_graceful_shutdown=2,
        )
    )


def _is_news(record: logging.LogRecord) -> bool:
    """A handshake that was refused with a response of its own is complete; uvicorn takes it for a mistake of ours."""
    return record.msg != "ASGI callable returned without completing handshake."


def largest_frame(limits: Limits, components: bool) -> int:
    """The largest frame that any request within the limits can need: a program with arguments, blobs as base64."""
    program_bytes = max(limits.program_bytes, limits.component_bytes if components else 0)
    return (limits.message_bytes + program_bytes) * 4 // 3 + _FRAME_OVERHEAD


async def _end(controller: Controller, state: ServerState) -> None:
    """Stop the inferlets and give every connection the time to say so."""
    log.info("server.stopping", inferlets=len(controller.application.inferlets))
    state.closing.set()
    state.stopping.set()
    await controller.application.shut_down("the server shuts down")
    try:
        async with asyncio.timeout(_FAREWELL_S):
            await state.idle.wait()
    except TimeoutError:
        log.warning("server.clients_left", seconds=_FAREWELL_S)
