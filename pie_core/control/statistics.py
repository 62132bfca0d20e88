"""Counters of one control layer: what was launched, how full the batches were, how long commands waited."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pie_core.inference.wave import Wave


@dataclass
class CallCounters:
    """Totals of one kind of command since start. Times in seconds."""

    batches: int = 0
    commands: int = 0
    weight: int = 0
    waited_s: float = 0.0

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
            counters.batches += 1
            counters.commands += len(batch.entries)
            for submission in batch.entries:
                counters.weight += submission.weight
                counters.waited_s += wave.launched_at - submission.enqueued_at

    def worked(self, submission: Any, now: float) -> None:
        """A command of the host has run, alone."""
        counters = self.calls.setdefault(submission.command.signature().name, CallCounters())
        counters.batches += 1
        counters.commands += 1
        counters.weight += submission.weight
        counters.waited_s += now - submission.enqueued_at

    def completed(self, wave: Wave[Any], now: float) -> None:
        """Its results are in."""
        self.busy_s += now - wave.launched_at
