"""Runs the fibers of all guests on the event loop's thread: who can run, runs in turn, for one time slice at most."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from typing import Any

import wasmtime

from pie_core.application.wasm.guest import Guest
from pie_core.errors import ResourceError

_TICK_S = 0.002  # of the epoch: a guest that computes gives way after one to two ticks
_TURN_S = 0.005  # of guests that use up their slices; after it the event loop has its turn. Others all run in one


class Executor:
    """`guest` is the one that runs now. Every method is for the event loop's thread."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        self.guest: Guest | None = None
        self._runnable: deque[Guest] = deque()
        self._queued: set[Guest] = set()
        self._arrivals: dict[Guest, asyncio.Future[Any]] = {}
        self._scheduled = False
        self._ticker = _Ticker(engine)

    async def run(self, guest: Guest) -> Any:
        """Drive the operation that `guest` has begun to its end; its result.

        Raises what ended it: a host function's fault, a trap (`WasmtimeError`), `ResourceError` when it has computed
        for longer than its limits allow.
        """
        arrival = self._arrivals[guest] = asyncio.get_running_loop().create_future()
        self.wake(guest)
        try:
            return await arrival
        finally:
            del self._arrivals[guest]

    def wake(self, guest: Guest) -> None:
        """Something that a guest may wait for has come."""
        if guest not in self._queued and guest in self._arrivals:
            self._queued.add(guest)
            self._runnable.append(guest)
            self._schedule()

    def close(self) -> None:
        """Stop the clock of time slices. No guest may run any more."""
        self._ticker.stop()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        self._ticker.busy.set()
        computed = 0.0
        for _ in range(len(self._runnable)):
            guest = self._runnable.popleft()
            self._queued.discard(guest)
            arrival = self._arrivals.get(guest)
            if arrival is not None and not arrival.done():  # neither ended nor stopped meanwhile
                started = time.perf_counter()
                if self._step(guest, arrival):
                    computed += time.perf_counter() - started
            if computed > _TURN_S:
                break
        if self._runnable:
            self._schedule()
        else:
            self._ticker.busy.clear()

    def _step(self, guest: Guest, arrival: asyncio.Future[Any]) -> bool:
        """Run a guest until it suspends or ends, or for a time slice; True if it would have gone on."""
        started = time.thread_time()
        ended, result = False, None
        try:
            if self._resume(guest):
                self.guest = guest
                ended = guest.poll()
                result = guest.result() if ended else None
        except BaseException as fault:  # a guest leaves by an exception that is no `Exception`
            if not arrival.done():
                arrival.set_exception(fault)
        finally:
            self.guest = None
            guest.cpu_s += time.thread_time() - started
        if arrival.done():
            return False
        if ended:
            arrival.set_result(result)
        elif guest.cpu_s > guest.limits.cpu_s:
            arrival.set_exception(ResourceError(_too_much(guest)))
        elif guest.suspension is None or guest.suspension.waiting.ready():
            self.wake(guest)
            return True
        return False

    def _resume(self, guest: Guest) -> bool:
        """Whether it can go on; what it waited for is handed over then."""
        suspension = guest.suspension
        if suspension is not None:
            if not suspension.waiting.ready():
                return False
            suspension.resume()
            guest.suspension, guest.resumed = None, suspension
        return True


def _too_much(guest: Guest) -> str:
    return (
        f"the program computed for {guest.cpu_s:.1f} s, more than the {guest.limits.cpu_s:g} s that the limits allow; "
        "await something instead of polling, or raise the limit `cpu_s`"
    )


class _Ticker:
    """Moves the engine's epoch on while guests run, on a thread that otherwise sleeps."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        self.busy = threading.Event()
        self._engine = engine
        self._stopped = False
        self._thread = threading.Thread(target=self._tick, name="pie-epoch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Idempotent."""
        self._stopped = True
        self.busy.set()
        self._thread.join()

    def _tick(self) -> None:
        while not self._stopped:
            self.busy.wait()
            time.sleep(_TICK_S)
            self._engine.increment_epoch()
