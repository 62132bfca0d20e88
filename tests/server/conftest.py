"""A server in this process, over the fake backend of the package in `installed/`, on a free port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket

from pie_core.application.capabilities import Capabilities
from pie_core.application.limits import Limits
from pie_core.application.quotas import Quotas
from pie_core.client import Client
from pie_core.controller import Controller, Settings, TierName
from pie_core.server.access import Access
from pie_core.server.address import listen, url_of
from pie_core.server.serve import serving
from pie_core.server.state import ServerState

INSTALLED = Path(__file__).parent / "installed"
PROGRAMS = Path(__file__).parent / "programs"


@dataclass
class Running:
    """A server and what a test wants to know of it."""

    url: str
    state: ServerState

    @property
    def controller(self) -> Controller:
        return self.state.controller

    @property
    def used(self) -> dict[str, int]:
        """How much of each pool is not free."""
        (model,) = self.controller.models.values()
        return {kind.kind: pool.capacity - pool.free for kind, pool in model.layer.pools.items()}

    async def until(self, condition: Callable[[], bool]) -> None:
        """Give way until something is so; an error after 10 s."""
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)

    @asynccontextmanager
    async def raw(self, **settings: Any) -> AsyncIterator[Raw]:
        """A connection without the client library."""
        address = self.url.replace("http", "ws", 1) + "/v1/ws"
        async with open_socket(address, proxy=None, compression=None, **settings) as socket:
            yield Raw(socket)


@dataclass
class Raw:
    """Sends and receives plain objects, as JSON unless told otherwise."""

    socket: ClientConnection

    async def send(self, **message: Any) -> None:
        await self.socket.send(msgspec.json.encode(message).decode())

    async def send_packed(self, **message: Any) -> None:
        await self.socket.send(msgspec.msgpack.encode(message))

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            frame = await self.socket.recv()
        return msgspec.json.decode(frame) if isinstance(frame, str) else msgspec.msgpack.decode(frame)

    async def ask(self, **message: Any) -> dict[str, Any]:
        await self.send(**message)
        return await self.receive()

    async def launch(self, program: str, **more: Any) -> str:
        """Launch one of `programs/`."""
        source = (PROGRAMS / f"{program}.py").read_text()
        launched = await self.ask(type="launch", request=1, name=program, source=source, **more)
        assert launched["type"] == "launched", launched
        return str(launched["id"])


Test = Callable[[Running], Awaitable[None]]
WithServer = Callable[..., None]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package pie-fake is installed."""
    monkeypatch.syspath_prepend(str(INSTALLED))
    yield INSTALLED


@asynccontextmanager
async def running(
    limits: Limits | None = None,
    tier: TierName = "wasm",
    capabilities: Capabilities | None = None,
    access: Access | None = None,
    quotas: Quotas | None = None,
    **options: Any,
) -> AsyncIterator[Running]:
    texts = {name: str(value) for name, value in options.items()}
    allowed = capabilities or Capabilities()
    settings = Settings(
        "fake", "fake", texts, limits=limits or Limits(), quotas=quotas or Quotas(), tier=tier, capabilities=allowed
    )
    with listen("127.0.0.1", 0) as listener:
        url = url_of(listener)
        async with serving(settings, listener, access=access) as state:
            yield Running(url, state)


@pytest.fixture
def with_server() -> WithServer:
    """Run `async def test(server)` against a server that lives as long."""

    def run(test: Test, limits: Limits | None = None, **options: Any) -> None:
        async def whole() -> None:
            async with running(limits, **options) as server, asyncio.timeout(30):
                await test(server)

        asyncio.run(whole())

    return run


@pytest.fixture
def with_client(with_server: WithServer) -> WithServer:
    """Run `async def test(server, client)`."""

    def run(test: Callable[[Running, Client], Awaitable[None]], limits: Limits | None = None, **options: Any) -> None:
        async def connected(server: Running) -> None:
            async with Client(server.url) as client:
                await test(server, client)

        with_server(connected, limits, **options)

    return run
