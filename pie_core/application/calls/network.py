"""Calls: HTTP requests to the hosts that the inferlet may reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pie_core.application.calls.base import RuntimeCall
from pie_core.application.network.message import HttpRequest, HttpResponse
from pie_core.control.ticket import Ticket
from pie_core.errors import ResourceError

if TYPE_CHECKING:
    from pie_core.application.host import Host


class HttpGet(RuntimeCall):
    """Request a URL with GET. Redirects are followed, each checked like the first request.

    url: absolute, http or https; what is not ASCII percent-encoded. headers: each `name: value`.

    The body comes as the server sent it; a status that tells of an error is no error here.

    ArgumentError: a malformed URL or header, over 64 headers.
    CapabilityError: a host that the server, the launch or the manifest does not allow, or that leads to an address that
        is not public; nothing is sent.
    NetworkError: no connection, a broken answer, too many redirects, too slow.
    ResourceError: an answer over `http_bytes`, too many requests at once.
    """

    future = True
    returns = HttpResponse
    url: str
    headers: list[str] = []

    def apply(self, host: Host, model: str | None, queue: int | None) -> Ticket:
        return _start(host, HttpRequest.make("GET", self.url, self.headers))


class HttpPost(RuntimeCall):
    """Send a body with POST, otherwise as `http_get`. A redirect that is not 307 or 308 goes on as GET.

    ArgumentError: a body that is not bytes or over `message_bytes`; else as for `http_get`.
    """

    future = True
    returns = HttpResponse
    url: str
    body: bytes
    headers: list[str] = []

    def apply(self, host: Host, model: str | None, queue: int | None) -> Ticket:
        host.inferlet.check_size(self.body)
        return _start(host, HttpRequest.make("POST", self.url, self.headers, self.body))


def _start(host: Host, request: HttpRequest) -> Ticket:
    inferlet = host.inferlet
    limits, reach = inferlet.limits, inferlet.grant.reach
    reach.check(request.target)
    if len(host.requests) >= limits.http_requests:
        raise ResourceError(
            f"{len(host.requests)} requests are under way, the most allowed (limit `http_requests`); await one first"
        )
    return host.requests.start(host.services.http.fetch(request, reach, limits.http_bytes, limits.http_s))


CALLS = (HttpGet, HttpPost)
