"""Servers in threads of their own, whose programs are trusted, so that nothing is built for them; and a browser."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pie_core.application.limits import Limits
from pie_core.application.program import Program
from pie_core.client import SyncClient
from pie_core.controller import Settings
from pie_core.server.access import Access
from pie_core.server.address import listen, url_of
from pie_core.server.serve import serving
from pie_core.server.threaded import Served, served

INSTALLED = Path(__file__).parents[3] / "tests" / "server" / "installed"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Server(Served):
    """One of these tests."""

    def get(self, path: str, **more: Any) -> httpx.Response:
        """A plain request."""
        return httpx.get(f"{self.url}{path}", trust_env=False, timeout=60, **more)

    @property
    def client(self) -> SyncClient:
        """A client of the protocol."""
        return SyncClient(self.url)

    @property
    def model(self) -> Any:
        """The loaded model."""
        (model,) = self.state.controller.models.values()
        return model

    def launch(self, source: str, name: str = "program", user: str = "local", arguments: tuple[str, ...] = ()) -> Any:
        """An inferlet that nobody listens to."""
        program = Program(name, source, f"{name}.py")
        return self.run(self.state.controller.application.launch(program, arguments, user))

    def stop_all(self) -> None:
        """End whatever runs."""

        async def stopped() -> None:
            application = self.state.controller.application
            for inferlet in list(application.inferlets.values()):
                application.stop(inferlet, "over")

        self.run(stopped())

    def result(self, inferlet: Any) -> str | None:
        """What an inferlet returned; it must have finished."""
        outcome = self.until(lambda: inferlet.outcome)
        assert outcome.status == "finished", outcome
        return str(outcome.value)


@contextmanager
def _fake_served(limits: Limits | None = None, port: int = 0, access: Access | None = None) -> Iterator[Server]:
    """The package is there as long as it is looked for, and no longer: other tests have such a backend of their own."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(INSTALLED))
            options = {"pages": "64", "embeds": "256"}
            settings = Settings("fake", "fake", options, limits=limits or Limits(), tier="native")
            running = stack.enter_context(served(settings, Server, port, access))
        yield running


@pytest.fixture(scope="session")
def fake_served() -> Callable[..., AbstractContextManager[Server]]:
    """`with fake_served(limits, port, access) as server`: the model is a `FakeBackend` with 64 pages of 16."""
    return _fake_served


@pytest.fixture
def loading(tmp_path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """The address of a server whose model is being loaded, and what lets it go on."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    opened = threading.Event()

    def go_on() -> None:
        opened.set()
        gate.write_text("")

    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.syspath_prepend(str(INSTALLED))
        listener = stack.enter_context(listen("127.0.0.1", 0))
        settings = Settings("fake", "fake", {"gate": str(gate)}, tier="native")
        over = threading.Event()

        async def serve() -> None:
            async with serving(settings, listener):
                await asyncio.to_thread(over.wait)

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        yield url_of(listener), go_on
        if not opened.is_set():
            go_on()
        over.set()
        thread.join()


@pytest.fixture(scope="session")
def _fake() -> Iterator[Server]:
    with _fake_served() as running:
        yield running


@pytest.fixture
def fake(_fake: Server) -> Iterator[Server]:
    """One that is shared; nothing runs on it and nothing is held."""
    yield _fake
    _fake.stop_all()
    _fake.until(lambda: all(pool.free == pool.capacity for pool in _fake.model.layer.pools.values()))


@pytest.fixture(scope="session")
def pico() -> Iterator[Server]:
    """The bundled model."""
    options = {"dtype": "float32", "pages": "512", "embeds": "2048"}
    with served(Settings("pico", "torch", options, tier="native"), Server) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window. For one module: as long as it is there, no other event loop can be run here."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed (.ci/toolchains does it)")
    from playwright.sync_api import sync_playwright

    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium refuses to have one as root
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=sandbox)
        yield chromium
        chromium.close()
