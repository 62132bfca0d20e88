"""The OpenAPI description of a server, put together from what its routes say about themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pie_core.server.routes import Routes
from pie_core.version import __version__

_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")


def describe(parts: Iterable[Routes]) -> dict[str, Any]:
    """An OpenAPI 3.1 document."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for part in parts:
        schemas |= part.schemas
        for route in part.routes:
            path = _PARAMETER.sub(r"{\1}", route.path)
            paths.setdefault(path, {})[route.method.lower()] = _operation(route.path, dict(route.operation))
    return {
        "openapi": "3.1.0",
        "info": {"title": "pie-core", "version": __version__},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    names = _PARAMETER.findall(path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    return operation
