"""One request and its response, checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import urljoin

import msgspec

from pie_core.application.network.url import Target, parse_url
from pie_core.errors import ArgumentError, NetworkError
from pie_core.version import __version__

MOST_HEADERS = 64
MOST_HEADER_BYTES = 16 << 10  # of a request, all together

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_OURS = frozenset(
    {
        *("host", "content-length", "expect"),
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),  # a hop's
        *("proxy-authenticate", "proxy-authorization"),
    }
)
_FOR_STRANGERS = frozenset({"accept", "accept-encoding", "accept-language", "content-type", "user-agent"})
_OF_BODIES = frozenset({"content-type", "content-encoding", "content-language", "content-location"})
_DEFAULTS = (("accept", "*/*"), ("accept-encoding", "identity"), ("user-agent", f"pie-core/{__version__}"))


class HttpHeader(msgspec.Struct, frozen=True):
    """One header of a response; the name in lower case."""

    name: str
    value: str


class HttpResponse(msgspec.Struct, frozen=True):
    """What a server answered. `url` is the last one, after redirects; `body` is as sent, never decompressed."""

    status: int
    url: str
    headers: list[HttpHeader]
    body: bytes


@dataclass(frozen=True)
class HttpRequest:
    """A request to one host. `headers` in lower case, without those that are ours to write."""

    method: str
    target: Target
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    @classmethod
    def make(cls, method: str, url: str, headers: Iterable[str], body: bytes = b"") -> HttpRequest:
        """From what a program passes; a header is ``name: value``. Raises `ArgumentError`."""
        return cls(method, parse_url(url), _checked(headers), body)

    def redirected(self, status: int, location: str | None) -> HttpRequest | None:
        """The request that a response asks for; None if it asks for none. Raises `NetworkError`."""
        if status not in (301, 302, 303, 307, 308) or location is None:
            return None
        try:
            if not location.isascii() or not location.isprintable():
                raise ArgumentError("it is not printable ASCII")
            target = parse_url(_absolute(self.target, location))
        except (ArgumentError, ValueError) as error:
            raise NetworkError(f"{self.target.url} redirects to {location!r:.200}, which is refused: {error}") from None
        if self.target.scheme == "https" and target.scheme == "http":
            raise NetworkError(f"{self.target.url} redirects from https to http ({target.url}), which is refused")
        headers = self.headers
        if target.origin != self.target.origin:
            headers = tuple(header for header in headers if header[0] in _FOR_STRANGERS)
        if status in (307, 308) or self.method == "GET":
            return replace(self, target=target, headers=headers)
        headers = tuple(header for header in headers if header[0] not in _OF_BODIES)
        return HttpRequest("GET", target, headers)

    def all_headers(self) -> list[tuple[str, str]]:
        """As they are sent, but for the length of the body."""
        given = {name for name, _ in self.headers}
        defaults = [header for header in _DEFAULTS if header[0] not in given]
        return [("host", self.target.authority), *defaults, *self.headers]


def _absolute(base: Target, location: str) -> str:
    """Only paths are joined: what names a scheme or a host is taken as it stands, or refused."""
    if _SCHEME.match(location):
        return location
    return f"{base.scheme}:{location}" if location.startswith("//") else urljoin(base.url, location)


def _checked(lines: Iterable[str]) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    size = 0
    for line in lines:
        name, colon, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        if not colon or not _TOKEN.fullmatch(name):
            raise ArgumentError(f"the header {line!r:.100} is not `name: value` with a name of letters, digits and `-`")
        if not _VALUE.fullmatch(value):
            raise ArgumentError(f"the header {name!r} has a value of other characters than printable ASCII")
        if name in _OURS:
            raise ArgumentError(f"the header {name!r} is the server's to write; leave it out")
        size += len(line)
        found.append((name, value))
    if len(found) > MOST_HEADERS or size > MOST_HEADER_BYTES:
        raise ArgumentError(
            f"{len(found)} headers of {size} characters; {MOST_HEADERS} of {MOST_HEADER_BYTES} are allowed"
        )
    return tuple(found)
