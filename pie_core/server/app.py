"""The ASGI application: addresses and what answers them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from starlette import routing
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from pie_core.errors import PieError
from pie_core.server.access import SUBPROTOCOL, Address, Authentication
from pie_core.server.guard import Guard
from pie_core.server.http import not_found, refusal, refused
from pie_core.server.openapi import describe
from pie_core.server.protocol import PATH
from pie_core.server.requests import RequestIds
from pie_core.server.routes import Route, Routes
from pie_core.server.session import TRY_LATER, Session
from pie_core.server.state import ServerState


def make_app(state: ServerState, parts: Sequence[Routes]) -> Starlette:
    """An application over the state of a server, with the routes of the core and of plugins."""
    description = msgspec.json.encode(describe(parts))

    async def connect(socket: WebSocket) -> None:
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope["subprotocols"] else None)
        if not state.ready:
            await socket.close(TRY_LATER, "the server is not ready; see /readyz")
            return
        state.enter()
        try:
            await Session(socket, state).run()
        finally:
            state.leave()

    async def openapi(request: Request) -> Response:
        return Response(description, media_type="application/json")

    addresses = [_address(route, part) for part in parts for route in part.routes]
    checked = Middleware(Authentication, access=state.access, addresses=addresses, admit=state.admit, refuse=refusal)
    return Starlette(
        routes=[
            *(address.route for address in addresses),
            routing.Route("/openapi.json", openapi),
            routing.WebSocketRoute(PATH, connect),
        ],
        middleware=[Middleware(RequestIds), Middleware(Guard, local=state.local), checked],
        exception_handlers={PieError: refused, HTTPException: not_found},
    )


def _address(route: Route, part: Routes) -> Address:
    mounted = routing.Route(route.path, route.answer, methods=[route.method])
    return Address(mounted, route.public, part.refuse or refusal)
