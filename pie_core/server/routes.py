"""For packages that bring HTTP routes (group `pie_core.routes`): what they register, and what they may do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog
from prometheus_client import CollectorRegistry
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from pie_core.application.capabilities import Capabilities
from pie_core.application.events import Event
from pie_core.application.inferlet import Inferlet
from pie_core.application.program import Program
from pie_core.errors import PieError, PluginError
from pie_core.loaded import LoadedModel
from pie_core.plugins import Plugin, Selection, discover, load, select
from pie_core.server.access import Caller, caller_of
from pie_core.server.events import events_of
from pie_core.server.state import ServerState

T = TypeVar("T")
log = structlog.get_logger(__name__)

_GONE = "its client has disconnected"


@dataclass(frozen=True)
class Route:
    """One address. `operation` describes it in the terms of OpenAPI 3.1 (an Operation Object)."""

    method: str
    path: str  # as Starlette writes it, such as "/v1/things/{name}"
    answer: Callable[[Request], Awaitable[Response]]
    operation: Mapping[str, Any]
    public: bool = False  # needs no key, and is answered for anybody; `Gate.caller` and `launch` cannot be used then


@dataclass(frozen=True)
class Routes:
    """What a package adds to a server. `schemas`: the components that its operations refer to, by name.

    refuse: how a request is answered that does not get as far as its route, for it has no key (`AuthenticationError`)
    or is one too many (`BusyError`); None: in the form of the core's own routes.
    """

    routes: Sequence[Route]
    schemas: Mapping[str, Any]
    refuse: Callable[[PieError], Response] | None = None


@dataclass(frozen=True)
class RoutesSpec:
    """What the hook registers. `build` is called once for each server, before its model is loaded."""

    name: str
    build: Callable[[Gate], Routes]


class Gate:
    """What routes may do: launch inferlets as the user of a request, see what that user may, and add metrics."""

    def __init__(self, state: ServerState, metrics: CollectorRegistry) -> None:
        self._state = state
        self.metrics = metrics

    @property
    def models(self) -> Mapping[str, LoadedModel]:
        """What is served, by name. Raises `ResourceError` while the model loads."""
        return self._state.controller.models

    @property
    def largest_body(self) -> int:
        """Bytes of a request that a program could take."""
        return self._state.controller.application.limits.message_bytes

    @property
    def most_bytes(self) -> int | None:
        """How many one call of a program can carry, a picture say; None: any number."""
        return self._state.controller.application.most_bytes

    @property
    def programs(self) -> Mapping[str, Path]:
        """The installed programs, by name. Raises `ResourceError` while the model loads."""
        return self._state.controller.programs

    def caller(self, request: Request) -> Caller:
        """Whose request it is. What a route shows of others must be no more than the caller `sees`."""
        return caller_of(request)

    def inferlets(self, request: Request) -> Sequence[Mapping[str, Any]]:
        """Facts about what runs, and what waits in line, as far as a request may be told of it; oldest first."""
        return self._state.controller.application.list(caller_of(request).sees)

    async def launch(
        self, request: Request, program: Program, arguments: Sequence[str] = (), blobs: Sequence[bytes] = ()
    ) -> Run:
        """Start a program as the user of a request, without any capability. Raises `PieError`.

        blobs: for its `receive_blob()`, there before it begins.
        """
        self._state.check_accepting()
        application = self._state.controller.application
        inferlet = await application.launch(program, arguments, caller_of(request).user, Capabilities(), blobs)
        return Run(inferlet, lambda why: application.stop(inferlet, why))


class Run:
    """An inferlet that was launched for a request, which must `stop` it when it is done with it."""

    def __init__(self, inferlet: Inferlet, stop: Callable[[str], None]) -> None:
        self._inferlet = inferlet
        self._stop = stop

    def events(self) -> AsyncIterator[Event]:
        """What comes from now on; the last one is `Ended`."""
        return events_of(self._inferlet)

    def stop(self, why: str = _GONE) -> None:
        """End it, if it still runs."""
        if self._inferlet.outcome is None:
            self._stop(why)


class EventStream(StreamingResponse):
    """Server-sent events about a run, which is stopped when all was sent or the client has gone."""

    def __init__(self, run: Run, events: AsyncIterator[bytes]) -> None:
        super().__init__(events, headers={"Cache-Control": "no-cache"}, media_type="text/event-stream")
        self._run = run

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._run.stop()


async def attended(request: Request, answer: Awaitable[T]) -> T:
    """The answer, as long as the client waits for it. The body must have been read.

    Raises `ClientDisconnect` if the client has gone; `answer` is cancelled then.
    """
    work = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return await work
    finally:
        gone.cancel()
        work.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def load_routes(selection: Selection, gate: Gate, core: Routes) -> list[Routes]:
    """The core's, and those of every installed package.

    One that fails, or wants an address that somebody else has, is a warning: the server does without its routes.
    """
    loaded = [core]
    owners = dict.fromkeys(_addresses(core), "pie-core")
    for plugin in select(discover("routes"), selection):
        try:
            routes = _build(plugin, gate)
            if taken := [address for address in _addresses(routes) if address in owners]:
                raise PluginError(f"{plugin}: {owners[taken[0]]} answers {taken[0]} already")
        except PluginError as error:
            log.warning("plugin.failed", plugin=plugin.name, package=plugin.package, error=str(error))
        else:
            loaded.append(routes)
            owners |= dict.fromkeys(_addresses(routes), plugin.package)
    return loaded


def _addresses(routes: Routes) -> list[str]:
    return [f"{route.method} {route.path}" for route in routes.routes]


def _build(plugin: Plugin, gate: Gate) -> Routes:
    spec = load(plugin)
    if not isinstance(spec, RoutesSpec):
        raise PluginError(f"{plugin} registers a {type(spec).__name__}, not a RoutesSpec")
    try:
        return spec.build(gate)
    except Exception as error:
        raise PluginError(f"{plugin} cannot build its routes: {type(error).__name__}: {error}") from error
