"""The same client without asyncio: an event loop in a thread of its own does the work."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pie_core.application.events import Ended, Event
from pie_core.application.program import Program
from pie_core.client.client import Client
from pie_core.client.remote import RemoteInferlet
from pie_core.errors import ProtocolError
from pie_core.server.address import DEFAULT_URL
from pie_core.server.protocol import Allow

T = TypeVar("T")


class SyncClient:
    """`with SyncClient(url) as client`: every method waits for its answer. May be used from several threads."""

    def __init__(self, url: str = DEFAULT_URL, api_key: str | None = None) -> None:
        """See `Client`."""
        self._url = url
        self._api_key = api_key
        self._ready: Future[Client] = Future()
        self._thread = threading.Thread(target=self._work, name="pie-client", daemon=True)
        self._closing = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._client = self._ready.result()
        except BaseException:
            self._thread.join()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def launch(
        self,
        program: str | Path | Program,
        arguments: Sequence[str] = (),
        *,
        blobs: Sequence[bytes] = (),
        detach: bool = False,
        allow: Allow | None = None,
    ) -> SyncInferlet:
        """See `Client.launch`."""
        launched = self._client.launch(program, arguments, blobs=blobs, detach=detach, allow=allow)
        return SyncInferlet(self, self.wait(launched))

    def attach(self, instance_id: str) -> SyncInferlet:
        """See `Client.attach`."""
        return SyncInferlet(self, self.wait(self._client.attach(instance_id)))

    def list(self) -> list[dict[str, Any]]:
        """See `Client.list`."""
        return self.wait(self._client.list())

    def stop(self, instance_id: str, why: str = "stopped by a client") -> None:
        """See `Client.stop`."""
        self.wait(self._client.stop(instance_id, why))

    def ping(self) -> None:
        """See `Client.ping`."""
        self.wait(self._client.ping())

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the client's loop; its result."""
        if self._loop.is_closed():
            work.close()
            raise ProtocolError("the client is closed; use it inside its `with` block")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _work(self) -> None:
        asyncio.run(self._live())

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            async with Client(self._url, self._api_key) as client:
                self._ready.set_result(client)
                await self._closing.wait()
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)


class SyncInferlet:
    """See `RemoteInferlet`."""

    def __init__(self, client: SyncClient, remote: RemoteInferlet) -> None:
        self.id = remote.id
        self._client = client
        self._remote = remote

    def __iter__(self) -> Iterator[Event]:
        events = aiter(self._remote)
        while (event := self._client.wait(_next(events))) is not None:
            yield event

    @property
    def outcome(self) -> Ended | None:
        """How it ended; None while it runs."""
        return self._remote.outcome

    def send(self, text: str) -> None:
        """See `RemoteInferlet.send`."""
        self._client.wait(self._remote.send(text))

    def send_blob(self, data: bytes) -> None:
        """See `RemoteInferlet.send_blob`."""
        self._client.wait(self._remote.send_blob(data))

    def receive(self) -> str:
        """See `RemoteInferlet.receive`."""
        return self._client.wait(self._remote.receive())

    def receive_blob(self) -> bytes:
        """See `RemoteInferlet.receive_blob`."""
        return self._client.wait(self._remote.receive_blob())

    def result(self) -> str | None:
        """See `RemoteInferlet.result`."""
        return self._client.wait(self._remote.result())

    def stop(self, why: str = "stopped by its client") -> None:
        """See `RemoteInferlet.stop`."""
        self._client.wait(self._remote.stop(why))


async def _next(events: Any) -> Event | None:
    return await anext(events, None)
