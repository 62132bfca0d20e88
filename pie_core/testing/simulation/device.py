"""A device whose waves take virtual time, and whose work is done at any moment of it."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pie_core.command import Command
from pie_core.inference.device import Completed, WaveRunner, Worked
from pie_core.inference.stepping import Concluded, Conclusion, Ride
from pie_core.inference.swapping import SwapIn, SwapOut
from pie_core.inference.wave import Wave
from pie_core.testing.simulation.faults import Workshop
from pie_core.testing.simulation.ledger import Ledger


@dataclass
class _Job:
    wave: Wave[Any]
    completed: Completed
    concluded: Concluded
    computed: bool = False


class SimulatedDevice:
    """Waves take up to `wave_s`, end in order, and are computed when they begin, when they end, or in between.

    The control thread goes on meanwhile: what it changes too early or too late shows in the results. Steps come between
    waves, after any time up to `wave_s`. swap_s: how much longer a wave with transfers may take. told: hears of a wave
    before it is launched; tell: what happens, before it does.
    """

    def __init__(
        self,
        workshop: Workshop,
        rides: Mapping[type[Command], Ride],
        ledger: Ledger,
        loop: asyncio.AbstractEventLoop,
        draw: random.Random,
        wave_s: float,
        swap_s: float,
        told: Callable[[Wave[Any]], None],
        tell: Callable[[str], None],
    ) -> None:
        self._runner = WaveRunner(workshop.routes, rides)
        self._ledger = ledger
        self._loop = loop
        self._draw = draw
        self._wave_s = wave_s
        self._swap_s = swap_s
        self._told = told
        self._tell = tell
        self._free_at = 0.0
        self._waiting: deque[_Job] = deque()  # to be computed
        self._running: deque[_Job] = deque()  # to be posted
        self._messages: deque[Callable[[], None]] = deque()  # to the control thread
        self._at_step = False

    def launch(self, wave: Wave[Any], completed: Completed, concluded: Concluded) -> None:
        """See `Device.launch`."""
        self._told(wave)
        self._tell(f"a wave: {[[str(entry) for entry in batch] for batch in self._ledger.launch(wave)]}")
        begins = max(self._loop.time(), self._free_at)
        self._free_at = begins + self._draw.uniform(0.0, self._wave_s)
        if wave.batches[0].kind in (SwapOut, SwapIn):
            self._free_at += self._draw.uniform(0.0, self._swap_s)
        computed = self._draw.choice([begins, (begins + self._free_at) / 2, self._free_at])
        job = _Job(wave, completed, concluded)
        self._waiting.append(job)
        self._running.append(job)
        if computed == self._loop.time():
            self._compute(job)
        elif computed < self._free_at:
            self._loop.call_at(computed, self._compute, job)
        self._loop.call_at(self._free_at, self._post, job)

    def work(self, command: Command, worked: Worked) -> None:
        """See `Device.work`."""
        answer, error = self._runner.answer(command)
        self._loop.call_later(self._draw.uniform(0.0, self._wave_s), worked, answer, error)

    def proceed(self) -> None:
        """See `Device.proceed`."""

    def close(self) -> None:
        """See `Device.close`."""

    def _compute(self, job: _Job) -> None:
        """After those before it, whatever the loop made of timers that are due at the same time."""
        while not job.computed:
            first = self._waiting.popleft()
            first.computed = True
            self._runner.run(first.wave)
            self._ledger.steps.begin(first.wave)

    def _post(self, job: _Job) -> None:
        self._compute(job)
        first = self._running.popleft()
        self._say(partial(self._complete, first))
        if not self._at_step:
            self._step_later(first.concluded)

    def _say(self, message: Callable[[], None]) -> None:
        self._messages.append(message)
        self._loop.call_soon_threadsafe(self._hear)

    def _hear(self) -> None:
        """Messages of one thread arrive in order."""
        self._messages.popleft()()

    def _complete(self, job: _Job) -> None:
        self._tell("a wave is done")
        job.completed()
        self._ledger.complete(job.wave)

    def _step_later(self, concluded: Concluded) -> None:
        self._at_step = bool(self._runner.stepping)
        if self._at_step:
            self._loop.call_later(self._draw.uniform(0.0, self._wave_s), self._step, concluded)

    def _step(self, concluded: Concluded) -> None:
        if any(job.computed for job in self._running):  # in the middle of a wave; once more when that is done
            self._at_step = False
            return
        ended = self._runner.stepping.step()
        self._ledger.steps.check_step(ended)
        if ended:
            self._say(partial(self._conclude, concluded, ended))
        self._step_later(concluded)

    def _conclude(self, concluded: Concluded, ended: Sequence[Conclusion]) -> None:
        self._tell(f"ended in steps: {self._ledger.steps.describe(ended)}")
        concluded(ended)
        self._ledger.conclude(ended)
