"""Plain HTTP: is the process alive, is the model ready, what runs. Every error is JSON with a code and a message."""

from __future__ import annotations

import asyncio
import math
from typing import Any, get_args

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pie_core.application.application import Application
from pie_core.application.inferlet import Inferlet
from pie_core.errors import (
    ArgumentError,
    AuthenticationError,
    BusyError,
    CapabilityError,
    PieError,
    ResourceError,
)
from pie_core.loaded import LoadedModel
from pie_core.plugins import Kind, discover
from pie_core.server.access import caller_of
from pie_core.server.routes import Route, Routes
from pie_core.server.state import ServerState

RETRY_AFTER_S = 1


class Endpoints:
    """The handlers, over the state they show."""

    def __init__(self, state: ServerState, metrics: CollectorRegistry) -> None:
        self._state = state
        self._metrics = metrics

    def routes(self) -> Routes:
        """Where they are, and what OpenAPI says of them."""
        one = "/v1/inferlets/{id}"
        return Routes(
            [
                Route("GET", "/livez", self.livez, _operation("Is the process alive?"), public=True),
                Route("GET", "/readyz", self.readyz, _operation("Can programs be launched?", 503), public=True),
                Route("GET", "/metrics", self.metrics, _operation("Prometheus metrics.", 403, content="text/plain")),
                Route("GET", "/v1/facts", self.facts, _operation("What is served, and how full its pools are.", 503)),
                Route("GET", "/v1/plugins", self.plugins, _operation("What is installed.")),
                Route("GET", "/v1/inferlets", self.inferlets, _operation("What runs.", 503)),
                Route("GET", one, self.inferlet, _operation("One that runs.", 404, 503)),
                Route("DELETE", one, self.stop, _operation("Stop one.", 404, 503)),
            ],
            {"Error": _ERROR},
        )

    async def livez(self, request: Request) -> Response:
        """200 as soon as the process is up."""
        return _json({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        """200 when programs can be launched; 503 while the model loads and while the server stops."""
        self._state.check_accepting()
        return _json({"status": "ready", "models": list(self._state.controller.models)})

    async def metrics(self, request: Request) -> Response:
        """What Prometheus scrapes, in the format that it asks for. It tells of all users, so it is for operators."""
        if not caller_of(request).operator:
            raise CapabilityError("metrics tell of all users; use the key of an operator (`keys add USER --operator`)")
        encode, kind = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(self._metrics), headers={"Content-Type": kind})

    async def facts(self, request: Request) -> Response:
        """What is served: facts, traits, device, and how full the pools are."""
        return _json({"models": [_facts(model) for model in self._state.controller.models.values()]})

    async def plugins(self, request: Request) -> Response:
        """What is installed on the server."""
        found = await asyncio.to_thread(lambda: [plugin for kind in get_args(Kind) for plugin in discover(kind)])
        facts = [{"kind": p.kind, "name": p.name, "package": p.package, "version": p.version} for p in found]
        return _json({"plugins": facts})

    async def inferlets(self, request: Request) -> Response:
        """What runs, oldest first: the caller's own, or all for an operator."""
        return _json({"inferlets": self._application.list(caller_of(request).sees)})

    async def inferlet(self, request: Request) -> Response:
        """The facts of one."""
        inferlet = self._find(request)
        return _json(next(facts for facts in self._application.list() if facts["id"] == inferlet.id))

    async def stop(self, request: Request) -> Response:
        """End one."""
        inferlet = self._find(request)
        self._application.stop(inferlet, "stopped over HTTP")
        return _json({"stopped": inferlet.id})

    def _find(self, request: Request) -> Inferlet:
        try:
            return self._application.find(request.path_params["id"], caller_of(request).sees)
        except ArgumentError as error:
            raise HTTPException(404, str(error)) from None

    @property
    def _application(self) -> Application:
        return self._state.controller.application


async def refused(request: Request, error: Exception) -> Response:
    """A `PieError` as a response."""
    assert isinstance(error, PieError)
    return refusal(error)


def refusal(error: PieError) -> Response:
    """A `PieError` in the form of every error here."""
    match error:
        case BusyError():
            status, headers = 429, {"Retry-After": str(math.ceil(error.retry_after_s))}
        case ResourceError():
            status, headers = 503, {"Retry-After": str(RETRY_AFTER_S)}
        case AuthenticationError():
            status, headers = 401, {"WWW-Authenticate": "Bearer"}
        case CapabilityError():
            status, headers = 403, {}
        case _:
            status, headers = 400, {}
    return error_response(status, error.code, str(error), headers)


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


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        }
    },
}


def _operation(summary: str, *failures: int, content: str = "application/json") -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    responses: dict[str, Any] = {"200": {"description": "It went well.", "content": {content: {}}}}
    responses |= {str(status): {"description": "It did not.", "content": error} for status in failures}
    return {"summary": summary, "responses": responses}
