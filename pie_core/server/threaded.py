"""A server in a thread of its own, for code that is not asynchronous: tests with a browser or a stranger's client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from pie_core.controller import Settings
from pie_core.server.access import Access
from pie_core.server.address import listen, url_of
from pie_core.server.serve import serving
from pie_core.server.state import ServerState

T = TypeVar("T")
S = TypeVar("S", bound="Served")

LONGEST_WAIT_S = 60.0


@dataclass
class Served:
    """A server, and its event loop. Wait with `until` before looking at what it holds."""

    url: str
    state: ServerState
    loop: asyncio.AbstractEventLoop

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Await something in the server's thread. Raises what it raises, and `TimeoutError` after a minute."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(LONGEST_WAIT_S)

    def until(self, condition: Callable[[], T]) -> T:
        """Give way until something is so in the server, and say what it was. Raises `TimeoutError` after 30 s."""

        async def waiting() -> T:
            async with asyncio.timeout(LONGEST_WAIT_S / 2):
                while not (found := condition()):
                    await asyncio.sleep(0.001)
                return found

        return self.run(waiting())


@contextmanager
def served(settings: Settings, kind: type[S], port: int = 0, access: Access | None = None) -> Iterator[S]:
    """A server on the loopback until the end of the block, as a `kind` of `Served`. port 0: any free one.

    Raises what keeps the server from starting.
    """
    ready, over = threading.Event(), threading.Event()
    box: list[S] = []
    errors: list[BaseException] = []

    async def serve() -> None:
        with listen("127.0.0.1", port) as listener:
            async with serving(settings, listener, access=access) as state:
                box.append(kind(url_of(listener), state, asyncio.get_running_loop()))
                ready.set()
                await asyncio.to_thread(over.wait)

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # the other thread raises it
            errors.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="pie-served")
    thread.start()
    try:
        ready.wait()
        if box:
            yield box[0]
    finally:
        over.set()
        thread.join()
    if errors:
        raise errors[0]
