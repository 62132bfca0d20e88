"""What is heard of one model: its commands, on the tracks of their queues; its waves; what its threads run."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pie_core.command import Place
from pie_core.control.observer import Observer
from pie_core.control.queue import Queue
from pie_core.control.submission import Submission
from pie_core.control.swapping import Transfer
from pie_core.inference.wave import Batch, Wave
from pie_core.tracing.events import Span, microseconds
from pie_core.tracing.tracks import Group, Lanes, Put

_MOST_NAMED = 128  # inferlets of a wave, so that an event stays short; each command says which wave it was in
MOVES = "host memory"  # instead of a trait: what moves there and back


@dataclass(slots=True)
class _Open:
    """A command that is not settled. wave: its number; 0: not launched in one. begun: in microseconds."""

    lanes: Lanes
    track: int
    wave: int = 0
    begun: int | None = None


@dataclass(slots=True)
class _Part:
    """What of a wave is of one trait."""

    lanes: Lanes
    track: int
    name: str
    args: dict[str, Any]


class ModelRecorder(Observer):
    """The `Observer` of a control layer; and `ran` for `inference/watching.py`."""

    def __init__(
        self,
        put: Put,
        now: Callable[[], float],
        group: Group,
        traits: Mapping[str, str],
        lanes_of: Callable[[Queue], Lanes],
    ) -> None:
        """group: of the model's own tracks. traits: by call. lanes_of: the tracks of a queue."""
        self._put = put
        self._now = now
        self._group = group
        self._traits = traits
        self._lanes_of = lanes_of
        self._open: dict[Submission, _Open] = {}
        self._count = 0
        self._waves: dict[int, tuple[int, list[_Part]]] = {}  # number and parts, by id; while it is in flight
        self._by_trait: dict[str, Lanes] = {}
        self._threads: dict[tuple[Place, int], int] = {}  # tracks, by what runs there and the thread's number

    def enqueued(self, submission: Submission) -> None:
        """See `Observer.enqueued`."""
        lanes = self._lanes_of(submission.queue)
        self._open[submission] = _Open(lanes, lanes.take())

    def begun(self, submission: Submission) -> None:
        """See `Observer.begun`. What is staged shows on the threads of the host alone."""
        if (command := self._open.get(submission)) is not None:
            command.begun = microseconds(self._now())

    def launched(self, wave: Wave[Any]) -> None:
        """See `Observer.launched`."""
        self._count += 1
        at, by_trait = microseconds(wave.launched_at), dict[str, list[Batch[Any]]]()
        for batch in wave.batches:
            by_trait.setdefault(self._traits.get(batch.kind.signature().name, MOVES), []).append(batch)
            for entry in batch.entries:
                if isinstance(entry, Submission):
                    command = self._open[entry]
                    command.wave, command.begun = self._count, at
        parts = [self._part(trait, batches, wave.launched_at) for trait, batches in by_trait.items()]
        self._waves[id(wave)] = self._count, parts

    def completed(self, wave: Wave[Any]) -> None:
        """See `Observer.completed`."""
        number, parts = self._waves.pop(id(wave))
        at = microseconds(wave.launched_at)
        took = microseconds(self._now()) - at
        for part in parts:
            self._put(Span(part.name, part.lanes.pid, part.track, at, took, {"wave": number} | part.args))
            part.lanes.give(part.track)

    def settled(self, submission: Submission) -> None:
        """See `Observer.settled`."""
        command = self._open.pop(submission)
        name, pid, track = submission.command.signature().name, command.lanes.pid, command.track
        enqueued, now = microseconds(submission.enqueued_at), microseconds(self._now())
        args: dict[str, Any] = {"number": submission.seq, "weight": submission.command.weight}
        if submission.error is not None:
            args["error"] = submission.error.code
        self._put(Span(name, pid, track, enqueued, now - enqueued, args))
        if command.begun is not None:
            run = {"number": submission.seq} | ({"wave": command.wave} if command.wave else {})
            self._put(Span(submission.command.place, pid, track, command.begun, now - command.begun, run))
        command.lanes.give(track)

    def ran(self, name: str, place: Place, size: int, began: float, ended: float) -> None:
        """See `inference/watching.py: Ran`."""
        thread = place, threading.get_ident()
        track = self._threads.get(thread)
        if track is None:
            track = self._threads[thread] = self._group.track(place)
        at = microseconds(began)
        self._put(Span(name, self._group.pid, track, at, microseconds(ended) - at, {"commands": size}))

    def _part(self, trait: str, batches: Sequence[Batch[Any]], launched_at: float) -> _Part:
        lanes = self._by_trait.get(trait)
        if lanes is None:
            lanes = self._by_trait[trait] = self._group.lanes(f"waves: {trait}")
        entries = [entry for batch in batches for entry in batch.entries]
        commands = Counter(entry.command.signature().name for entry in entries)
        owners = sorted({_owner(entry) for entry in entries})
        args = {
            "commands": commands,
            "weight": sum(entry.weight for entry in entries),
            "longest_wait_us": max(microseconds(launched_at) - microseconds(entry.enqueued_at) for entry in entries),
            "inferlets": owners[:_MOST_NAMED],
        }
        if len(owners) > _MOST_NAMED:
            args["more_inferlets"] = len(owners) - _MOST_NAMED
        return _Part(lanes, lanes.take(), " + ".join(f"{name} x {count}" for name, count in commands.items()), args)


def _owner(entry: Submission | Transfer) -> str:
    space = entry.swapped.space if isinstance(entry, Transfer) else entry.queue.space
    return space.owner
