"""The OpenAPI description of a server, put together from what its routes say about themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pie_core.server.routes import Route, Routes
from pie_core.version import __version__

_REFUSALS = {
    "401": {"description": "The server has keys, and this request has none, or a wrong one."},
    "429": {"description": "The user has made more requests than the quota allows."},
}
_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")


def describe(parts: Iterable[Routes]) -> dict[str, Any]:
    """An OpenAPI 3.1 document."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for part in parts:
        schemas |= part.schemas
        for route in part.routes:
            path = _PARAMETER.sub(r"{\1}", route.path)
            paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "pie-core", "version": __version__},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(route: Route) -> dict[str, Any]:
    operation = dict(route.operation)
    if not route.public:
        operation["security"] = [{"key": []}, {}]  # where the server has keys
        operation["responses"] = _REFUSALS | operation.get("responses", {})
    names = _PARAMETER.findall(route.path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    return operation
