"""What the package registers: the routes of the page, described from the declarations of what they give."""

from __future__ import annotations

from typing import Any

import msgspec

from pie_core import hookimpl
from pie_core.server.routes import Gate, Route, Routes, RoutesSpec
from pie_server_page.programs import Programs, ProgramText
from pie_server_page.service import LARGEST_NUMBER, Service
from pie_server_page.state import State
from pie_server_page.telling import Tree

_REF = "#/components/schemas/{name}"
_SINCE = {
    "name": "since",
    "in": "query",
    "description": "`last` of the answer before; 0 for all that is kept.",
    "schema": {"type": "integer", "minimum": 0, "maximum": LARGEST_NUMBER, "default": 0},
}


@hookimpl
def pie_routes() -> RoutesSpec:
    return RoutesSpec("page", build)


def build(gate: Gate) -> Routes:
    """The routes of one server."""
    service = Service(gate)
    refs, schemas = msgspec.json.schema_components([Programs, ProgramText, State, Tree], ref_template=_REF)
    programs, program, state, tree = refs
    page: dict[str, Any] = {"text/html": {}}
    files: dict[str, Any] = {kind: {} for kind in ("text/css", "text/javascript", "image/svg+xml", "text/html")}
    routes = [
        Route("GET", "/", service.index, _operation("The page.", page, 304), public=True),
        Route(
            "GET", "/page/files/{name}", service.file, _operation("A file of the page.", files, 304, 404), public=True
        ),
        Route("GET", "/page/programs", service.programs, _operation("The installed programs.", _json(programs), 503)),
        Route("GET", "/page/programs/{name}", service.program, _operation("One.", _json(program), 400, 404, 503)),
        Route(
            "GET",
            "/page/state",
            service.state,
            _operation("What runs, who holds what, what was done.", _json(state), 400, 503) | {"parameters": [_SINCE]},
        ),
        Route("GET", "/page/trees/{id}", service.tree, _operation("An inferlet's tree.", _json(tree), 503)),
    ]
    return Routes(routes, schemas)


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _operation(summary: str, content: dict[str, Any], *others: int) -> dict[str, Any]:
    """An Operation Object. others: further statuses; of these, 304 has nothing in it."""
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    told: dict[int, dict[str, Any]] = {200: {"description": "It went well.", "content": content}}
    for status in others:
        told[status] = {"description": "It did not.", "content": error}
    if 304 in told:
        told[304] = {"description": "The browser has it."}
    return {"summary": summary, "responses": {str(status): response for status, response in told.items()}}
