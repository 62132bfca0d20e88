"""Who asks? Every request has a caller; where the server has keys, one without a good key gets no further than here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from pie_core.errors import AuthenticationError, ConfigError, PieError
from pie_core.server.keys import Keyring

log = structlog.get_logger(__name__)

SUBPROTOCOL = "pie"
KEY_SUBPROTOCOL = "pie-key."
"""In front of a key, for browsers: their WebSockets send no headers of one's own."""

ANYBODY = "local"
_CALLER = "pie.caller"
_HOW = "send it as `Authorization: Bearer pie-...`; `pie-core keys add USER` makes one on the server"


@dataclass(frozen=True)
class Caller:
    """The user of a request. An operator may see and stop everybody's inferlets, and read metrics."""

    user: str
    operator: bool

    @property
    def sees(self) -> str | None:
        """Whose inferlets it may see and stop: those of this user, or all (None)."""
        return None if self.operator else self.user


class Access:
    """`keyring`: None, or one without a file, lets everybody in, as one and the same user."""

    def __init__(self, keyring: Keyring | None = None) -> None:
        self._keyring = keyring

    def caller(self, headers: Headers) -> Caller:
        """Who has sent a request with these headers. Raises `AuthenticationError`."""
        if self._keyring is None:
            return Caller(ANYBODY, operator=True)
        try:
            self._keyring.refresh()
            if not self._keyring.needed:
                return Caller(ANYBODY, operator=True)
            key = self._keyring.find(_presented(headers))
        except ConfigError as error:
            log.error("keys.unreadable", error=str(error))
            raise AuthenticationError("the server cannot read its keys; its operator sees why in the log") from None
        return Caller(key.user, key.operator)


def caller_of(connection: HTTPConnection) -> Caller:
    """Who has sent a request that was let in."""
    caller: Caller = connection.scope[_CALLER]
    return caller


@dataclass(frozen=True)
class Address:
    """A route, whether it needs no key, and how a request for it is refused."""

    route: Route
    public: bool
    refuse: Callable[[PieError], Response]


class Authentication:
    """ASGI middleware. `admit` counts a caller's request, and raises `BusyError` if it is one too many.

    refuse: for addresses that there are not.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        addresses: Sequence[Address],
        admit: Callable[[Caller], None],
        refuse: Callable[[PieError], Response],
    ) -> None:
        self._app = app
        self._access = access
        self._addresses = addresses
        self._admit = admit
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        found = self._address(scope)
        if found is not None and found.public:
            await self._app(scope, receive, send)
            return
        try:
            caller = self._access.caller(Headers(scope=scope))
            if scope["type"] == "http" and scope["method"] != "DELETE":  # what ends something is always let in
                self._admit(caller)
        except PieError as error:
            log.info("request.refused", path=scope["path"], code=error.code, error=str(error))
            refuse = self._refuse if found is None else found.refuse
            await refuse(error)(scope, receive, send)
            return
        scope[_CALLER] = caller
        with structlog.contextvars.bound_contextvars(user=caller.user):
            await self._app(scope, receive, send)

    def _address(self, scope: Scope) -> Address | None:
        """The one that will answer; one of another method, if none will."""
        partly = None
        for address in self._addresses:
            match, _ = address.route.matches(scope)
            if match == Match.FULL:
                return address
            if match == Match.PARTIAL:
                partly = partly or Address(address.route, False, address.refuse)
        return partly


def _presented(headers: Headers) -> str:
    """The key of a request. Raises `AuthenticationError` if there is none."""
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() == "bearer" and key.strip():
            return key.strip()
        raise AuthenticationError(f"this is no key; {_HOW}")
    for offered in headers.get("sec-websocket-protocol", "").split(","):
        if offered.strip().startswith(KEY_SUBPROTOCOL):
            return offered.strip().removeprefix(KEY_SUBPROTOCOL)
    raise AuthenticationError(f"the server needs a key; {_HOW}")
