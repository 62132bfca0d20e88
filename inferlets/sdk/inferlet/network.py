"""HTTP requests. A program reaches the hosts that its manifest names (`hosts = [...]`) and the server allows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from inferlet.errors import ArgumentError
from inferlet.future import Future
from inferlet.host import host

Headers = Mapping[str, str] | Iterable[tuple[str, str]]

_CHARSET = re.compile(r"charset=[\"']?([\w.:-]+)", re.IGNORECASE)


class Response:
    """What a server answered. `status` may tell of an error: that is for the program to judge.

    url: the last one, after redirects. headers: by name in lower case; of one that came several times the values are
    joined by `, `. body: bytes as they were sent, never decompressed.
    """

    __slots__ = ("body", "headers", "status", "url")

    def __init__(self, status: int, url: str, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.url = url
        self.headers = headers
        self.body = body

    @classmethod
    def of(cls, record: Any) -> Response:
        """From the server's record."""
        headers: dict[str, str] = {}
        for header in record.headers:
            known = headers.get(header.name)
            headers[header.name] = header.value if known is None else f"{known}, {header.value}"
        return cls(record.status, record.url, headers, bytes(record.body))

    def __repr__(self) -> str:
        return f"<Response {self.status} of {self.url}, {len(self.body)} bytes>"

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300

    def text(self) -> str:
        """The body as text, in the charset that its header names, else UTF-8; what does not decode is U+FFFD."""
        found = _CHARSET.search(self.headers.get("content-type", ""))
        try:
            return self.body.decode(found[1] if found else "utf-8", "replace")
        except LookupError:
            return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON. Raises `ValueError`."""
        return json.loads(self.body)


def http_get(url: str, headers: Headers | None = None) -> Future[Response]:
    """Request a URL with GET; await the `Response`. Redirects are followed, each checked like the first request.

    url: absolute, http or https, what is not ASCII percent-encoded. headers: a mapping, or pairs.
    Raises `ArgumentError` for a malformed URL or header; `CapabilityError` for a host that may not be reached, and
    nothing is sent then; `NetworkError` if there is no connection or no answer; `ResourceError` for an answer over the
    limit, or too many requests at once.
    """
    return Future(host(), host().call("http_get", None, None, (url, _lines(headers))), Response.of)


def http_post(url: str, body: bytes | str, headers: Headers | None = None) -> Future[Response]:
    """Send a body (a text as UTF-8) with POST; otherwise as `http_get`."""
    sent = body.encode() if isinstance(body, str) else body
    return Future(host(), host().call("http_post", None, None, (url, sent, _lines(headers))), Response.of)


def _lines(headers: Headers | None) -> list[str]:
    if headers is None:
        return []
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    try:
        return [_line(name, value) for name, value in pairs]
    except (TypeError, ValueError):
        raise ArgumentError(f"headers: expected a mapping or pairs of texts, got {headers!r:.100}") from None


def _line(name: object, value: object) -> str:
    if not isinstance(name, str) or not isinstance(value, str) or ":" in name:
        raise TypeError
    return f"{name}: {value}"
