"""A URL taken apart, once and strictly: what is checked is what is sent.

Only what every parser reads alike is accepted. Anything that one of them might take for another host (user names,
backslashes, spaces, letters outside ASCII, numbers in the place of an address) is an error that says what to write.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from pie_core.application.network.addresses import Address
from pie_core.errors import ArgumentError

LONGEST = 8192  # characters
USUAL_PORTS = {"http": 80, "https": 443}

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<target>[^#]*)(#.*)?")
_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(:(?P<port>.*))?")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_LONGEST_NAME = 253


@dataclass(frozen=True)
class Target:
    """Where a request goes. `host` is a name in lower case, or an address in its usual form, without brackets."""

    scheme: str
    host: str
    port: int
    path: str  # with the query
    literal: Address | None  # the host, if it is an address

    @property
    def authority(self) -> str:
        """As the `Host` header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == USUAL_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        """The URL again, without fragment."""
        return f"{self.origin}{self.path}"


def parse_url(url: str) -> Target:
    """Take an absolute http or https URL apart. Raises `ArgumentError` that says what is wrong with it."""
    shown = f"the URL {url!r:.200}"
    if len(url) > LONGEST:
        raise ArgumentError(f"{shown}: it has {len(url)} characters; {LONGEST} are allowed")
    if not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>^`{|}'):
        raise ArgumentError(f"{shown}: only printable ASCII without spaces, backslashes and quotes; percent-encode it")
    match = _URL.fullmatch(url)
    if match is None:
        raise ArgumentError(f"{shown} is not absolute; write http://HOST/PATH or https://HOST/PATH")
    scheme = match["scheme"].lower()
    if scheme not in USUAL_PORTS:
        raise ArgumentError(f"{shown}: the scheme {scheme!r} is not offered, only http and https")
    if "@" in match["authority"]:
        raise ArgumentError(f"{shown}: no user names or passwords in URLs; pass an Authorization header")
    try:
        host, literal, port = parse_authority(match["authority"])
    except ValueError as error:
        raise ArgumentError(f"{shown}: {error}") from None
    target = match["target"]
    path = target if target.startswith("/") else f"/{target}"
    return Target(scheme, host, port or USUAL_PORTS[scheme], path, literal)


def parse_authority(text: str) -> tuple[str, Address | None, int | None]:
    """``HOST`` or ``HOST:PORT``: the host, the address that it is if it is one, the port. Raises `ValueError`."""
    match = _AUTHORITY.fullmatch(text)
    if match is None or not match["host"]:
        raise ValueError(f"{text!r} is not HOST or HOST:PORT (an IPv6 address goes in brackets)")
    host, literal = parse_host(match["host"].lower())
    if match["port"] is None:
        return host, literal, None
    if not _PORT.fullmatch(match["port"]) or int(match["port"]) > 65535:
        raise ValueError(f"{match['port']!r} is not a port; it is a number from 1 to 65535")
    return host, literal, int(match["port"])


def parse_host(text: str) -> tuple[str, Address | None]:
    """A host in lower case, and the address that it is if it is one. Raises `ValueError`."""
    if text.startswith("["):
        try:
            if "%" in text:
                raise AddressValueError("zones have no meaning here")
            address = IPv6Address(text[1:-1])
        except AddressValueError as error:
            raise ValueError(f"{text} is not an IPv6 address: {error}") from None
        return address.compressed, address
    labels = text.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return text, IPv4Address(text)
        except AddressValueError:
            raise ValueError(f"{text!r} is not an address; write four decimal numbers, as in 192.0.2.1") from None
    if len(text) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(
            f"{text!r:.300} is not a host name: labels of a-z, 0-9 and `-`, joined by single dots, none at the end; "
            "other letters as punycode"
        )
    return text, None
