"""An asyncio event loop without a clock, a selector or a thread: one step at a time, in virtual time."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_ATTEMPTS = 10  # at cancelling tasks that refuse


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs one callback per step; when none is ready, time jumps to the next timer.

    observe: called after every step. rest: called when nothing is ready, before time moves. Both may raise, which ends
    the run. shuffle: picks the next callback by chance instead of first come, first served.
    """

    _ready: deque[asyncio.Handle]  # BaseEventLoop's own
    _scheduled: list[asyncio.TimerHandle]

    def __init__(
        self,
        observe: Callable[[], None] = lambda: None,
        rest: Callable[[], None] = lambda: None,
        shuffle: random.Random | None = None,
    ) -> None:
        super().__init__()
        self.steps = 0
        self.failures: list[str] = []  # what asyncio would only have logged
        self._now = 0.0
        self._observe = observe
        self._rest = rest
        self._shuffle = shuffle
        self.set_exception_handler(self._note_failure)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """What would go to a thread runs here, in a step of its own."""
        future = self.create_future()

        def run() -> None:
            try:
                result = func(*args)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_soon(run)
        return future

    def timers(self) -> int:
        """How many calls are due later and not cancelled."""
        return sum(not timer.cancelled() for timer in self._scheduled)

    def discard(self) -> None:
        """Close, whatever is still pending: it is cancelled, and nobody looks on."""
        self._observe = self._rest = lambda: None
        self.set_exception_handler(lambda loop, context: None)
        for _ in range(_ATTEMPTS):
            tasks = asyncio.all_tasks(self)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            with suppress(Exception):
                self.run_until_complete(asyncio.wait(tasks, timeout=1.0))
        self.close()

    def _run_once(self) -> None:
        """What `run_forever` does again and again; overrides asyncio's, which runs all that is ready, and waits."""
        if not self._ready:
            self._rest()
        self._wake_timers()
        if not self._ready:
            raise RuntimeError("the simulation is stuck: nothing is ready and nothing is due later")
        if self._shuffle is not None:
            self._ready.rotate(-self._shuffle.randrange(len(self._ready)))
        handle: Any = self._ready.popleft()
        if handle.cancelled():
            return
        self.steps += 1
        handle._run()
        self._observe()

    def _wake_timers(self) -> None:
        """Move what is due to the ready ones; let time jump if nothing is ready."""
        while self._scheduled and (
            self._scheduled[0].cancelled() or self._scheduled[0].when() <= self._now or not self._ready
        ):
            timer: asyncio.TimerHandle = heapq.heappop(self._scheduled)
            timer._scheduled = False  # type: ignore[attr-defined]  # as BaseEventLoop keeps its books
            if not timer.cancelled():
                self._now = max(self._now, timer.when())
                self._ready.append(timer)

    def _note_failure(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.failures.append(f"{context['message']}: {type(error).__name__}: {error}")

    def _write_to_self(self) -> None:
        """There is no selector to wake."""

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""
