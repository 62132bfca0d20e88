"""Plain HTTP: is the process alive, is the model ready, what runs. Every error is JSON with a code and a message."""

from __future__ import annotations

import asyncio
from typing import Any, get_args

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pie_core.errors import ArgumentError, PieError, ResourceError
from pie_core.loaded import LoadedModel
from pie_core.plugins import Kind, discover
from pie_core.server.state import ServerState


class Endpoints:
    """The handlers, over the state they show."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    async def livez(self, request: Request) -> Response:
        """200 as soon as the process is up."""
        return _json({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        """200 when programs can be launched; 503 while the model loads and while the server stops."""
        self._state.check_accepting()
        return _json({"status": "ready", "models": list(self._state.controller.models)})

    async def models(self, request: Request) -> Response:
        """What is served: facts, traits, device, and how full the pools are."""
        return _json({"models": [_facts(model) for model in self._state.controller.models.values()]})

    async def plugins(self, request: Request) -> Response:
        """What is installed on the server."""
        found = await asyncio.to_thread(lambda: [plugin for kind in get_args(Kind) for plugin in discover(kind)])
        facts = [{"kind": p.kind, "name": p.name, "package": p.package, "version": p.version} for p in found]
        return _json({"plugins": facts})

    async def inferlets(self, request: Request) -> Response:
        """What runs, oldest first."""
        return _json({"inferlets": self._state.controller.application.list()})

    async def inferlet(self, request: Request) -> Response:
        """GET: the facts of one. DELETE: stop it."""
        application = self._state.controller.application
        try:
            inferlet = application.find(request.path_params["id"])
        except ArgumentError as error:
            return error_response(404, error.code, str(error))
        if request.method == "DELETE":
            application.stop(inferlet, "stopped over HTTP")
            return _json({"stopped": inferlet.id})
        return _json(next(facts for facts in application.list() if facts["id"] == inferlet.id))


async def refused(request: Request, error: Exception) -> Response:
    """A `PieError` as a response."""
    assert isinstance(error, PieError)
    return error_response(503 if isinstance(error, ResourceError) else 400, error.code, str(error))


async def not_found(request: Request, error: Exception) -> Response:
    """An address or a method that there is not."""
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}; docs/operations.md lists the addresses"
    return error_response(error.status_code, "protocol", message, error.headers)


def error_response(status: int, code: str, message: str, headers: Any = None) -> Response:
    """The form of every error."""
    return _json({"error": {"code": code, "message": message}}, status, headers)


def _facts(model: LoadedModel) -> dict[str, Any]:
    pools = {kind.kind: {"free": pool.free, "capacity": pool.capacity} for kind, pool in model.layer.pools.items()}
    return {"info": model.info, "device": model.backend.device, "traits": list(model.traits), "pools": pools}


def _json(content: Any, status: int = 200, headers: Any = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, "application/json")
