"""What the device did lately: batches of waves, and commands that ran in steps, with their times."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from pie_core.control.submission import Submission
from pie_core.inference.wave import Batch, Wave

MOST = 4096  # kept; who asks seldom misses older ones


class Span(msgspec.Struct, frozen=True):
    """A batch of a wave, from its launch to the completion of the wave; or (steps) one command that ran in steps.

    Times are seconds on the server's clock. weight is work in the command's own unit: tokens of a pass, or those that
    were decoded. waited is the longest wait of its commands until they were launched.
    """

    number: int
    model: str
    call: str
    trait: str
    steps: bool
    size: int  # commands
    weight: int
    start: float
    end: float
    waited: float


class Spans:
    """Of one model. `count` gives the number of the next one."""

    def __init__(self, model: str, traits: dict[str, str], count: Callable[[], int], now: Callable[[], float]) -> None:
        """traits: by the name of the call."""
        self._model = model
        self._traits = traits
        self._count = count
        self._now = now
        self._begun: dict[Submission, float] = {}
        self._spans: deque[Span] = deque(maxlen=MOST)

    def since(self, number: int) -> Sequence[Span]:
        """Those after one, in order."""
        found = []
        for span in reversed(self._spans):
            if span.number <= number:
                break
            found.append(span)
        return found[::-1]

    @property
    def running(self) -> int:
        """Commands that run in steps now, of those that began while somebody looked."""
        return len(self._begun)

    def launched(self, wave: Wave[Any]) -> None:
        """Note when commands that run in steps begin."""
        for batch in wave.batches:
            if batch.kind.stepwise:
                self._begun |= dict.fromkeys(batch.entries, wave.launched_at)

    def completed(self, wave: Wave[Any]) -> None:
        """A wave is done."""
        for batch in wave.batches:
            if not batch.kind.stepwise:
                self._add_batch(batch, wave.launched_at)

    def concluded(self, submission: Submission) -> None:
        """A command that ran in steps is done."""
        start = self._begun.pop(submission, None)
        if start is not None:
            call = submission.command.signature().name
            self._add(call, True, 1, submission.command.weight, start, start - submission.enqueued_at)

    def forget(self) -> None:
        """Nobody looks any more: what begins and ends now is not seen."""
        self._begun.clear()
        self._spans.clear()

    def _add_batch(self, batch: Batch[Any], start: float) -> None:
        waited = max(start - entry.enqueued_at for entry in batch.entries)
        weight = sum(entry.weight for entry in batch.entries)
        self._add(batch.kind.signature().name, False, len(batch.entries), weight, start, waited)

    def _add(self, call: str, steps: bool, size: int, weight: int, start: float, waited: float) -> None:
        trait = self._traits.get(call, "")
        times = start, self._now(), waited
        self._spans.append(Span(self._count(), self._model, call, trait, steps, size, weight, *times))
