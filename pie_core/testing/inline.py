"""A device and an event loop that do exactly one thing at a time, when they are told to."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import Any

from pie_core.command import Command
from pie_core.inference.device import Completed, WaveRunner, Worked
from pie_core.inference.running import Route
from pie_core.inference.stepping import Concluded, Ride
from pie_core.inference.wave import Wave


class ManualLoop:
    """`soon` and `later` without asyncio: functions run in order, when `run` is called. `now` is virtual seconds."""

    def __init__(self) -> None:
        self.time = 0.0
        self._ready: deque[Callable[[], None]] = deque()
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []  # a heap, by time, then by age
        self._ages = count()

    def now(self) -> float:
        """Virtual time; moves only when a test moves `time`, or by `advance`."""
        return self.time

    def soon(self, function: Callable[[], None]) -> None:
        """Run later, in order."""
        self._ready.append(function)

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Run when so much virtual time has passed."""
        heapq.heappush(self._alarms, (self.time + seconds, next(self._ages), function))

    def advance(self, seconds: float) -> None:
        """Let time pass: whatever falls due on the way runs at its own time, with all that follows from it."""
        end = self.time + seconds
        self.run()
        while self._alarms and self._alarms[0][0] <= end:
            when, _, function = heapq.heappop(self._alarms)
            self.time = max(self.time, when)
            self.soon(function)
            self.run()
        self.time = end

    def step(self) -> bool:
        """Run one function; False if there is none."""
        if not self._ready:
            return False
        self._ready.popleft()()
        return True

    def run(self) -> None:
        """Run until nothing is left but what waits for its time."""
        while self.step():
            pass


class InlineDevice:
    """Runs a wave where it is launched; its completion arrives through `soon`. Keeps the waves for inspection.

    Steps run through `soon`, too, one at a time.
    """

    def __init__(
        self,
        routes: Mapping[type[Command], Route],
        soon: Callable[[Callable[[], None]], object],
        rides: Mapping[type[Command], Ride] | None = None,
    ) -> None:
        self._runner = WaveRunner(routes, rides)
        self._soon = soon
        self._at_step = False
        self.shapes: list[list[tuple[str, int]]] = []  # for each wave: (call, commands) of its batches

    def launch(self, wave: Wave[Any], completed: Completed, concluded: Concluded) -> None:
        """See `Device.launch`."""
        self.shapes.append([(batch.kind.signature().name, len(batch.entries)) for batch in wave.batches])
        self._runner.run(wave)
        self._soon(completed)
        if not self._at_step:
            self._step_soon(concluded)

    def work(self, command: Command, worked: Worked) -> None:
        """See `Device.work`."""
        answer, error = self._runner.answer(command)
        self._soon(lambda: worked(answer, error))

    def proceed(self) -> None:
        """See `Device.proceed`."""

    def close(self) -> None:
        """See `Device.close`."""

    def _step_soon(self, concluded: Concluded) -> None:
        self._at_step = bool(self._runner.stepping)
        if self._at_step:
            self._soon(partial(self._step, concluded))

    def _step(self, concluded: Concluded) -> None:
        if ended := self._runner.stepping.step():
            self._soon(partial(concluded, ended))
        self._step_soon(concluded)
