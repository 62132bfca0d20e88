"""The routes: files for the browser, and what its page asks for while it is open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pie_core.errors import ArgumentError
from pie_core.server.routes import Gate
from pie_server_page.files import Files
from pie_server_page.programs import list_programs, program_text
from pie_server_page.state import Books, read_books, read_state
from pie_server_page.telling import Tree, tell
from pie_server_page.watching import Watch

STATIC = Path(__file__).parent / "static"
LARGEST_NUMBER = 2**53 - 1

_SHARE = 20  # of the server's time, one part goes into reading the books at most
_SOONEST_S = 0.1  # between two readings


class Service:
    """The handlers of one server."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._files = Files(STATIC)
        self._watch = Watch()
        self._books: dict[str | None, tuple[float, Books]] = {}  # by who is seen: until when they are good enough

    async def index(self, request: Request) -> Response:
        """`GET /`."""
        return self._files.answer(request, "index.html")

    async def file(self, request: Request) -> Response:
        """`GET /page/files/{name}`."""
        name = request.path_params["name"]
        if name not in self._files:
            raise HTTPException(404, f"the page has no file {name!r}")
        return self._files.answer(request, name)

    async def programs(self, request: Request) -> Response:
        """`GET /page/programs`."""
        return _json(await asyncio.to_thread(list_programs, self._gate.programs))

    async def program(self, request: Request) -> Response:
        """`GET /page/programs/{name}`."""
        name, installed = request.path_params["name"], self._gate.programs
        if name not in installed:
            raise HTTPException(404, f"no program named {name!r} is installed on the server")
        return _json(await asyncio.to_thread(program_text, name, installed))

    async def state(self, request: Request) -> Response:
        """`GET /page/state?since=N`."""
        since = _number(request.query_params.get("since", "0"))
        models, sees = self._gate.models, self._gate.caller(request).sees
        self._watch.keep(models)
        stepping = {name: self._watch.running(name) for name in models}
        books = self._read(sees, lambda: read_books(self._gate.inferlets(request), models, stepping, sees))
        spans = self._watch.spans(since) if sees is None else []  # a batch is of several users
        return _json(read_state(books, spans, since))

    async def tree(self, request: Request) -> Response:
        """`GET /page/trees/{id}`."""
        instance_id, models = request.path_params["id"], self._gate.models
        self._watch.keep(models)
        found = self._watch.tree(instance_id, self._gate.caller(request).sees)
        return _json(Tree(instance_id) if found is None else tell(instance_id, models[found[0]], found[1]))

    def _read(self, sees: str | None, read: Callable[[], Books]) -> Books:
        """The books; again only when they are so old that reading takes a small share of the server's time."""
        started = time.monotonic()
        until, books = self._books.get(sees, (0.0, None))
        if books is None or started >= until:
            books = read()
            ended = time.monotonic()
            self._books = {whose: kept for whose, kept in self._books.items() if kept[0] > ended}
            self._books[sees] = ended + max(_SOONEST_S, _SHARE * (ended - started)), books
        return books


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= LARGEST_NUMBER):
        raise ArgumentError(f"since={text!r:.40} is no number of a span; give `last` of the answer before, or 0")
    return int(text)


def _json(content: msgspec.Struct) -> Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(msgspec.json.encode(content), headers=headers, media_type="application/json")
