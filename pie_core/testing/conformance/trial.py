"""A control layer in virtual time, with calls of its own and no model, for trying policies.

Nothing is computed: a wave takes a fixed time, and what was launched is written down.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pie_core.command import Command, Reads, Writes
from pie_core.control.contention import ContentionPolicy, FcfsKill
from pie_core.control.dispatch import Adaptive, DispatchPolicy
from pie_core.control.environment import Environment
from pie_core.control.layer import ControlLayer
from pie_core.control.space import Space
from pie_core.control.submission import Submission
from pie_core.errors import TerminatedError
from pie_core.inference.device import Completed, Worked
from pie_core.inference.stepping import Concluded
from pie_core.inference.wave import Wave
from pie_core.model import ModelInfo
from pie_core.resource import Embed, KvPage
from pie_core.testing.inline import ManualLoop

WAVE_S = 0.01  # how long the device takes for a wave
LONGEST_S = 600.0  # of a trial


class TrialNote(Command):
    """A light command that writes Embeds."""

    emb: Writes[Embed]


class TrialWork(Command):
    """A heavy command that reads Embeds and pages, and adds to pages."""

    heavy = True
    emb: Reads[Embed]
    ikv: Reads[KvPage]
    okv: Writes[KvPage]


class VirtualLoop(ManualLoop):
    """A manual loop that goes on to the next alarm when nothing is left to do at a moment."""

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """See `ManualLoop.later`; without a delay like `soon`."""
        if seconds:
            super().later(seconds, function)
        else:
            self.soon(function)

    def tick(self, seconds: float) -> None:
        """Let time pass while there is still something to do: what falls due gets in line."""
        self.time += seconds
        while self._alarms and self._alarms[0][0] <= self.time:
            self.soon(heapq.heappop(self._alarms)[2])

    def finish(self) -> None:
        """Run until nothing is left, now or later, but no longer than `LONGEST_S`."""
        self.run()
        while self._alarms and self.time < LONGEST_S:
            self.advance(max(0.0, self._alarms[0][0] - self.time))


@dataclass
class Launch:
    """A wave as it was launched. Times in virtual seconds."""

    at: float
    batches: list[list[Submission]]
    ended_at: float | None = None

    @property
    def commands(self) -> list[Submission]:
        """All of its commands, in order."""
        return [submission for batch in self.batches for submission in batch]


class RecordingDevice:
    """Takes `WAVE_S` for every wave and keeps what it was given."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.launches: list[Launch] = []
        self._free_at = 0.0

    def launch(self, wave: Wave[Any], completed: Completed, concluded: Concluded) -> None:
        """See `Device.launch`."""
        launch = Launch(self._loop.time, [list(batch.entries) for batch in wave.batches])
        self.launches.append(launch)
        for batch in wave.batches:
            batch.results = [None] * len(batch.entries)

        def end() -> None:
            launch.ended_at = self._loop.time
            completed()

        self._free_at = max(self._free_at, self._loop.time) + WAVE_S  # waves run in the order they are launched
        self._loop.later(self._free_at - self._loop.time, end)

    def work(self, command: Command, worked: Worked) -> None:
        """See `Device.work`."""
        self._loop.later(WAVE_S, lambda: worked(None, None))

    def proceed(self) -> None:
        """See `Device.proceed`."""

    def close(self) -> None:
        """See `Device.close`."""


@dataclass
class Trial:
    """evicted: who was ended by the contention policy, and what it was told."""

    loop: VirtualLoop
    device: RecordingDevice
    layer: ControlLayer
    evicted: list[tuple[Space, TerminatedError]] = field(default_factory=list)


def make_trial(
    dispatch: DispatchPolicy | None = None,
    contention: ContentionPolicy | None = None,
    pages: int = 64,
    embeds: int = 64,
    batch: int = 8,
) -> Trial:
    """A control layer of the policies that are tried, the default ones for the rest."""
    loop = VirtualLoop()
    device = RecordingDevice(loop)
    evicted: list[tuple[Space, TerminatedError]] = []
    layer = ControlLayer(
        ModelInfo("trial", vocab_size=1, max_position=1, kvpage_size=16),
        {KvPage: pages, Embed: embeds},
        {"trial_note": TrialNote, "trial_work": TrialWork},
        {},
        device,
        lambda command: batch,
        Environment(loop.now, loop.soon, lambda space, why: evicted.append((space, why)), loop.later),
        dispatch or Adaptive(),
        contention or FcfsKill(),
    )
    return Trial(loop, device, layer, evicted)
