"""Counters of one control layer: what was launched, how full the batches were, how long commands waited."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pie_core.inference.wave import Wave

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
WAITS_S = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(slots=True)
class Histogram:
    """How many values were at most each of `bounds`, and above the one before; the last count is of those over all."""

    bounds: Sequence[float]
    counts: list[int] = field(init=False)
    total: float = 0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass
class CallCounters:
    """Totals of one kind of command since start. Times in seconds.

    Of a kind that runs in steps, batches are steps of the device, and weight is what the commands that have ended have
    done; there are no sizes.
    """

    batches: int = 0
    commands: int = 0
    weight: int = 0
    waited_s: float = 0.0
    sizes: Histogram = field(default_factory=lambda: Histogram(SIZES))  # commands of a batch
    waits_s: Histogram = field(default_factory=lambda: Histogram(WAITS_S))  # of a command, from enqueued to launched

    shares: float = 0.0  # of steps, see `Entry.share`

    @property
    def mean_batch(self) -> float:
        """Commands per launch."""
        return self.commands / self.batches if self.batches else 0.0


@dataclass
class Statistics:
    """Written once per wave, and per command of the host, by the control thread."""

    waves: int = 0
    busy_s: float = 0.0
    calls: dict[str, CallCounters] = field(default_factory=dict)

    def launched(self, wave: Wave[Any]) -> None:
        """A wave is on its way."""
        self.waves += 1
        for batch in wave.batches:
            name = batch.kind.signature().name
            counters = self.calls.get(name)
            if counters is None:
                counters = self.calls[name] = CallCounters()
            counters.commands += len(batch.entries)
            if not batch.kind.stepwise:
                counters.batches += 1
                counters.sizes.add(len(batch.entries))
                counters.weight += sum(submission.weight for submission in batch.entries)
            for submission in batch.entries:
                waited = wave.launched_at - submission.enqueued_at
                counters.waited_s += waited
                counters.waits_s.add(waited)

    def concluded(self, submission: Any) -> None:
        """A command that ran in steps has ended."""
        counters = self.calls[submission.command.batch_kind().signature().name]
        counters.shares += submission.share
        counters.batches = round(counters.shares)
        counters.weight += submission.command.weight

    def worked(self, submission: Any, now: float) -> None:
        """A command of the host has run, alone."""
        counters = self.calls.setdefault(submission.command.signature().name, CallCounters())
        counters.batches += 1
        counters.commands += 1
        counters.sizes.add(1)
        counters.weight += submission.weight
        counters.waited_s += now - submission.enqueued_at
        counters.waits_s.add(now - submission.enqueued_at)

    def completed(self, wave: Wave[Any], now: float) -> None:
        """Its results are in."""
        self.busy_s += now - wave.launched_at
