"""Sends requests: every hop is checked, its host resolved once, and the connection made to a checked address.

Nothing comes from the environment: no proxies, no cookies, no credentials. Nothing is kept between requests, so
inferlets share no connection. The certificate of an https server is checked for the host's name.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

import httpx2
import structlog

from pie_core.application.network.addresses import Address, refusal
from pie_core.application.network.message import HttpHeader, HttpRequest, HttpResponse
from pie_core.application.network.reach import Reach
from pie_core.application.network.url import Target
from pie_core.errors import NetworkError, ResourceError

log = structlog.get_logger(__name__)

MOST_REDIRECTS = 5
MOST_ADDRESSES = 4  # of one host that are tried
AT_ONCE = 256  # requests of all inferlets; more wait, and their time runs
CONNECT_S = 10.0  # for each address

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]


async def resolve(host: str, port: int) -> Sequence[Address]:
    """The addresses of a host, as the system tells them. Raises `OSError`, `UnicodeError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(entry[4][0]) for entry in found))


class HttpClient:
    """All requests of a server. `tls`: what certificates are checked against; None: what the system trusts."""

    def __init__(self, resolve: Resolve = resolve, tls: ssl.SSLContext | None = None) -> None:
        self._resolve = resolve
        self._tls = tls
        self._room = asyncio.Semaphore(AT_ONCE)

    async def fetch(self, request: HttpRequest, reach: Reach, most_bytes: int, most_s: float) -> HttpResponse:
        """The response, redirects followed. `most_bytes` bounds its body, `most_s` all of it.

        Raises `CapabilityError`, `NetworkError`, `ResourceError` for a body that is too large.
        """
        try:
            async with asyncio.timeout(most_s), self._room:
                return await self._follow(request, reach, most_bytes)
        except TimeoutError:
            raise NetworkError(f"{request.target.url} was not answered within {most_s:g} s (limit `http_s`)") from None

    async def _follow(self, request: HttpRequest, reach: Reach, most_bytes: int) -> HttpResponse:
        for _ in range(MOST_REDIRECTS + 1):
            reach.check(request.target)
            addresses = await self._addresses(request.target, reach)
            response = await self._exchange(request, addresses, most_bytes)
            if isinstance(response, HttpResponse):
                return response
            request = response
        raise NetworkError(f"{request.target.url}: more than {MOST_REDIRECTS} redirects")

    async def _addresses(self, target: Target, reach: Reach) -> Sequence[Address]:
        """Those to connect to. If one of a host's is refused, all are."""
        found: Sequence[Address]
        if target.literal is not None:
            found = [target.literal]
        else:
            try:
                found = await self._resolve(target.host, target.port)
            except (OSError, UnicodeError) as error:
                raise NetworkError(f"the host {target.host!r} has no address: {error}") from None
        for address in found:
            reach.check_address(target, address, refusal(address))
        return found[:MOST_ADDRESSES]

    async def _exchange(
        self, request: HttpRequest, addresses: Sequence[Address], most_bytes: int
    ) -> HttpResponse | HttpRequest:
        """The response, or the request that it redirects to."""
        target, failure = request.target, "it has no address"
        tls = await self._context(target)
        for address in addresses:
            async with httpx2.AsyncHTTPTransport(verify=tls, trust_env=False) as transport:
                try:
                    response = await transport.handle_async_request(_pinned(request, address))
                except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                    failure = str(error) or type(error).__name__
                    continue
                except httpx2.TransportError as error:
                    raise _broken(target, error) from error
                try:
                    location = response.headers.get("location")
                    following = request.redirected(response.status_code, location)
                    return following or await _read(target, response, most_bytes)
                except httpx2.TransportError as error:
                    raise _broken(target, error) from error
                finally:
                    await response.aclose()
        raise NetworkError(f"no connection to {target.origin}: {failure}")

    async def _context(self, target: Target) -> ssl.SSLContext:
        if target.scheme == "http":
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # made at once, and trusts nobody
        if self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        return self._tls


def _pinned(request: HttpRequest, address: Address) -> httpx2.Request:
    """The request to this address, under the name of the host."""
    target = request.target
    extensions: dict[str, object] = {"timeout": {"connect": CONNECT_S}}
    if target.literal is None:
        extensions["sni_hostname"] = target.host
    return httpx2.Request(
        request.method,
        httpx2.URL(
            scheme=target.scheme, host=address.compressed, port=target.port, raw_path=target.path.encode("ascii")
        ),
        headers=request.all_headers(),
        content=request.body if request.method == "POST" else None,
        extensions=extensions,
    )


async def _read(target: Target, response: httpx2.Response, most_bytes: int) -> HttpResponse:
    declared = response.headers.get("content-length", "")
    too_large = ResourceError(f"{target.url}: the answer has more than {most_bytes} bytes (limit `http_bytes`)")
    if declared.isdigit() and int(declared[:20]) > most_bytes:
        raise too_large
    parts, size = [], 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > most_bytes:
            raise too_large
        parts.append(part)
    headers = [
        HttpHeader(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers.raw
    ]
    return HttpResponse(response.status_code, target.url, headers, b"".join(parts))


def _broken(target: Target, error: httpx2.TransportError) -> NetworkError:
    return NetworkError(f"{target.url}: the exchange failed: {str(error) or type(error).__name__}")
