"""The ASGI application: addresses and what answers them."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from pie_core.errors import PieError
from pie_core.server.guard import Guard
from pie_core.server.http import Endpoints, not_found, refused
from pie_core.server.protocol import PATH
from pie_core.server.session import TRY_LATER, Session
from pie_core.server.state import ServerState


def make_app(state: ServerState) -> Starlette:
    """An application over the state of a server."""
    endpoints = Endpoints(state)

    async def connect(socket: WebSocket) -> None:
        await socket.accept()
        if not state.ready:
            await socket.close(TRY_LATER, "the server is not ready; see /readyz")
            return
        state.enter()
        try:
            await Session(socket, state).run()
        finally:
            state.leave()

    return Starlette(
        routes=[
            Route("/livez", endpoints.livez),
            Route("/readyz", endpoints.readyz),
            Route("/v1/models", endpoints.models),
            Route("/v1/plugins", endpoints.plugins),
            Route("/v1/inferlets", endpoints.inferlets),
            Route("/v1/inferlets/{id}", endpoints.inferlet, methods=["GET", "DELETE"]),
            WebSocketRoute(PATH, connect),
        ],
        middleware=[Middleware(Guard, local=state.local)],
        exception_handlers={PieError: refused, HTTPException: not_found},
    )
