"""Runs the fibers of all guests on the event loop's thread, in turns.

A guest that was woken runs first, until it suspends or has computed for `_GRACE_S`: all of them in one turn, so that
what they enqueue meets in one wave. From then on it is one of those that compute, which share what is left. Guests of a
user who has computed more than the quota allows are held back until it allows some more.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from typing import Any

import wasmtime

from pie_core.application.wasm.guest import Guest
from pie_core.errors import ResourceError

_TICK_S = 0.002  # of the epoch: a guest that computes comes back to us after one to two ticks, by the clock
_GRACE_S = 0.004  # of computing, not of the clock: a busy machine must not make a guest look like one that computes
_TURN_S = 0.005  # of those that compute; after it the event loop has its turn


class Executor:
    """`guest` is the one that runs now. Every method is for the event loop's thread."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        self.guest: Guest | None = None
        self._woken: deque[Guest] = deque()
        self._computing: deque[Guest] = deque()
        self._queued: set[Guest] = set()
        self._resting: set[Guest] = set()  # held back by the quota of their user
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
        if guest not in self._queued and guest not in self._resting and guest in self._arrivals:
            self._queued.add(guest)
            self._woken.append(guest)
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
        for _ in range(len(self._woken)):
            self._run_next(self._woken, _GRACE_S)
        until = time.perf_counter() + _TURN_S
        for _ in range(len(self._computing)):
            self._run_next(self._computing, 0.0)
            if time.perf_counter() > until:
                break
        if self._woken or self._computing:
            self._schedule()
        else:
            self._ticker.busy.clear()

    def _run_next(self, line: deque[Guest], grace_s: float) -> None:
        guest = line.popleft()
        self._queued.discard(guest)
        arrival = self._arrivals.get(guest)
        if arrival is None or arrival.done():  # it has ended or was stopped meanwhile
            return
        if rest_s := guest.account.rest_s():
            self._resting.add(guest)
            asyncio.get_running_loop().call_later(rest_s, self._rested, guest)
            return
        try:
            goes_on = self._run_guest(guest, arrival, grace_s)
        except BaseException as fault:  # a guest leaves by an exception that is no `Exception`
            if not arrival.done():
                arrival.set_exception(fault)
            return
        if goes_on and guest not in self._queued:
            self._queued.add(guest)
            self._computing.append(guest)

    def _rested(self, guest: Guest) -> None:
        self._resting.discard(guest)
        self.wake(guest)

    def _run_guest(self, guest: Guest, arrival: asyncio.Future[Any], grace_s: float) -> bool:
        """Run a guest until it suspends or ends, or has computed for its grace; whether it could go on."""
        started = guest.cpu_s
        while self._resume(guest):
            if self._poll(guest):
                result = guest.result()
                if not arrival.done():
                    arrival.set_result(result)
                return False
            if arrival.done():
                return False
            if guest.cpu_s > guest.limits.cpu_s:
                raise ResourceError(_too_much(guest))
            if guest.cpu_s - started >= grace_s:
                return guest.suspension is None or guest.suspension.waiting.ready()
        return False

    def _poll(self, guest: Guest) -> bool:
        """One stretch of its fiber; whether its operation has ended."""
        started = time.thread_time()
        self.guest = guest
        try:
            return guest.poll()
        finally:
            self.guest = None
            spent_s = time.thread_time() - started
            guest.cpu_s += spent_s
            guest.account.compute(spent_s)

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
