"""What the package registers: the routes, described from the declarations of what they take and give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pie_core import hookimpl
from pie_core.application.program import read_program
from pie_core.server.routes import Gate, Route, Routes, RoutesSpec
from pie_server_openai import requests as r
from pie_server_openai import responses as o
from pie_server_openai.errors import refuse
from pie_server_openai.service import Service

PROGRAM = Path(__file__).parent / "inferlets" / "completion.py"
_REF = "#/components/schemas/{name}"
_EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
"""Of a stream: before OpenAPI 3.2 the schema of one is that of each of its events."""


@hookimpl
def pie_routes() -> RoutesSpec:
    return RoutesSpec("openai", build)


def build(gate: Gate) -> Routes:
    """The routes of one server."""
    service = Service(gate, read_program(PROGRAM))
    kinds = [r.ChatRequest, o.ChatCompletion, r.CompletionRequest, o.Completion, o.ModelList, o.ServedModel]
    refs, schemas = msgspec.json.schema_components([*kinds, o.ErrorAnswer], ref_template=_REF)
    chat_in, chat_out, text_in, text_out, models_out, model_out, error = refs
    operation = _Describing(error).operation
    routes = [
        Route("POST", "/v1/chat/completions", service.chat, operation("Answer a conversation.", chat_out, chat_in)),
        Route("POST", "/v1/completions", service.complete, operation("Complete texts.", text_out, text_in)),
        Route("GET", "/v1/models", service.models, operation("Which models are served.", models_out)),
        Route("GET", "/v1/models/{model:path}", service.model, operation("One of them.", model_out)),
    ]
    return Routes(routes, schemas, refuse)


class _Describing:
    """Writes the operations, whose failures are alike. error: the schema of a failure."""

    def __init__(self, error: Any) -> None:
        self._error = error

    def operation(self, summary: str, answer: Any, body: Any = None) -> dict[str, Any]:
        """An Operation Object."""
        content = {"application/json": {"schema": answer}}
        statuses: Sequence[int] = (404, 503)
        described: dict[str, Any] = {"summary": summary}
        if body is not None:
            content["text/event-stream"] = {"schema": _EVENT}
            statuses = (400, 404, 413, 429, 503)
            described["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
        failure = {"description": "It did not.", "content": {"application/json": {"schema": self._error}}}
        described["responses"] = {"200": {"description": "It went well.", "content": content}}
        described["responses"] |= {str(status): failure for status in statuses}
        return described
