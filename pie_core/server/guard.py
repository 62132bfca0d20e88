"""Keeps web pages out. A browser lets any page talk to a server on this machine, and launching a program is code
execution: requests that a page of another origin makes, or that reach us under a foreign name, are refused."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from pie_core.server.address import is_loopback
from pie_core.server.http import error_response


class Guard:
    """ASGI middleware. `local`: only this machine can connect, so the server has no other name than a loopback one."""

    def __init__(self, app: ASGIApp, local: bool) -> None:
        self._app = app
        self._local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        reason = None if scope["type"] == "lifespan" else self._refusal(Headers(scope=scope))
        if reason is None:
            await self._app(scope, receive, send)
        else:
            await error_response(403, "protocol", reason)(scope, receive, send)

    def _refusal(self, headers: Headers) -> str | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._local and not is_loopback(_name(f"//{host}")):
            return f"the server listens on this machine only and is not called {host!r}; use 127.0.0.1 or localhost"
        if origin is not None and urlsplit(origin).netloc != host:
            return f"the page {origin!r} is of another origin; web pages may not use this server"
        return None


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
