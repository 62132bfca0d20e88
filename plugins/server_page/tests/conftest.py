"""Servers in threads of their own, whose programs are trusted, so that nothing is built for them; and a browser."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
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
from pie_core.server.state import ServerState

INSTALLED = Path(__file__).parents[3] / "tests" / "server" / "installed"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Served:
    """A server. Wait with `until` before looking at what it holds."""

    url: str
    state: ServerState
    loop: asyncio.AbstractEventLoop

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
        return self.call(lambda: self.state.controller.application.launch(program, arguments, user))

    def stop_all(self) -> None:
        """End whatever runs."""

        async def stopped() -> None:
            application = self.state.controller.application
            for inferlet in list(application.inferlets.values()):
                application.stop(inferlet, "over")

        self.call(stopped)

    def call(self, make: Callable[[], Any]) -> Any:
        """Await something, made and awaited in the server's thread."""

        async def made() -> Any:
            return await make()

        return asyncio.run_coroutine_threadsafe(made(), self.loop).result(60)

    def until(self, condition: Callable[[], Any]) -> Any:
        """Give way until something is so in the server, and say what it was; an error after 30 s."""

        async def waiting() -> Any:
            async with asyncio.timeout(30):
                while not (found := condition()):
                    await asyncio.sleep(0.001)
                return found

        return self.call(waiting)

    def result(self, inferlet: Any) -> str | None:
        """What an inferlet returned; it must have finished."""
        outcome = self.until(lambda: inferlet.outcome)
        assert outcome.status == "finished", outcome
        return str(outcome.value)


@contextmanager
def served(
    model: str,
    backend: str,
    options: dict[str, str],
    limits: Limits | None = None,
    port: int = 0,
    access: Access | None = None,
) -> Iterator[Served]:
    """A server until the end of the block."""
    ready, over, box = threading.Event(), threading.Event(), list[Served]()
    given = Settings(model, backend, options, limits=limits or Limits(), tier="native")

    async def serve() -> None:
        with listen("127.0.0.1", port) as listener:
            async with serving(given, listener, access=access) as state:
                box.append(Served(url_of(listener), state, asyncio.get_running_loop()))
                ready.set()
                await asyncio.to_thread(over.wait)

    def run() -> None:
        try:
            asyncio.run(serve())
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        ready.wait()
        yield box[0]
    finally:
        over.set()
        thread.join()


@contextmanager
def _fake_served(limits: Limits | None = None, port: int = 0, access: Access | None = None) -> Iterator[Served]:
    """The package is there as long as it is looked for, and no longer: other tests have such a backend of their own."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(INSTALLED))
            options = {"pages": "64", "embeds": "256"}
            running = stack.enter_context(served("fake", "fake", options, limits, port, access))
        yield running


@pytest.fixture(scope="session")
def fake_served() -> Callable[..., AbstractContextManager[Served]]:
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
def _fake() -> Iterator[Served]:
    with _fake_served() as running:
        yield running


@pytest.fixture
def fake(_fake: Served) -> Iterator[Served]:
    """One that is shared; nothing runs on it and nothing is held."""
    yield _fake
    _fake.stop_all()
    _fake.until(lambda: all(pool.free == pool.capacity for pool in _fake.model.layer.pools.values()))


@pytest.fixture(scope="session")
def pico() -> Iterator[Served]:
    """The bundled model."""
    with served("pico", "torch", {"dtype": "float32", "pages": "512", "embeds": "2048"}) as running:
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
