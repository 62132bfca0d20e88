"""What is heard of inferlets and models, as events of a trace.

Groups of tracks: one for each inferlet (how long it lived, its calls, its queues) and one for each model (waves by
trait, the device thread, the threads of the host).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count

import structlog

from pie_core.application.inferlet import Inferlet
from pie_core.control.queue import Queue
from pie_core.tracing.events import Begin, End, Span, microseconds
from pie_core.tracing.model import ModelRecorder
from pie_core.tracing.tracks import Group, Lanes, Put
from pie_core.trait import Trait


class Recorder:
    """The observer of an application, and the maker of those of its models. now: seconds, the clock of all of them."""

    def __init__(self, put: Put, now: Callable[[], float]) -> None:
        self.now = now
        self._put = put
        self._pids = count(1)
        self._inferlets: dict[str, InferletTracks] = {}

    def model(self, name: str, traits: Iterable[Trait]) -> ModelRecorder:
        """The observer of a model's control layer and device."""
        group = Group(self._put, next(self._pids), f"model {name}")
        owners = {call: trait.name for trait in traits for call in trait.signatures}
        return ModelRecorder(self._put, self.now, group, owners, lambda queue: self._queue(group.pid, queue))

    def arrived(self, inferlet: Inferlet) -> None:
        """See `InferletObserver.arrived`."""
        name = f"{inferlet.program.name} {inferlet.id}"
        tracks = self._inferlets[inferlet.id] = InferletTracks(Group(self._put, next(self._pids), name))
        args = {"id": inferlet.id, "program": inferlet.program.name, "user": inferlet.user}
        if inferlet.parent is not None:
            args["parent"] = inferlet.parent.id
        elif (request := structlog.contextvars.get_contextvars().get("request")) is not None:
            args["request"] = request  # as in the log: bound by the server while it answers
        self._put(Begin(inferlet.program.name, tracks.group.pid, tracks.life, microseconds(self.now()), args))

    def ended(self, inferlet: Inferlet) -> None:
        """See `InferletObserver.ended`."""
        tracks, outcome = self._inferlets.pop(inferlet.id), inferlet.outcome
        assert outcome is not None
        args = {"status": outcome.status} | ({} if outcome.code is None else {"error": outcome.code})
        self._put(End(tracks.group.pid, tracks.life, microseconds(self.now()), args))

    def called(self, inferlet: Inferlet, name: str, began: float, error: str | None) -> None:
        """See `InferletObserver.called`."""
        tracks = self._inferlets.get(inferlet.id)
        if tracks is not None:  # else it has just ended, by this call
            at, args = microseconds(began), {} if error is None else {"error": error}
            self._put(Span(name, tracks.group.pid, tracks.calls, at, microseconds(self.now()) - at, args))

    def _queue(self, model: int, queue: Queue) -> Lanes:
        owner = queue.space.owner
        tracks = self._inferlets.get(owner)
        if tracks is None:  # no application has told of it
            tracks = self._inferlets[owner] = InferletTracks(Group(self._put, next(self._pids), f"inferlet {owner}"))
        return tracks.queue(model, queue.handle)


class InferletTracks:
    """Those of an inferlet. It is let go of when the inferlet ends."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.life = group.track("life")
        self.calls = group.track("calls")
        self._queues: dict[tuple[int, int], Lanes] = {}  # by model and handle

    def queue(self, model: int, handle: int) -> Lanes:
        """The tracks of a queue."""
        lanes = self._queues.get((model, handle))
        if lanes is None:
            lanes = self._queues[model, handle] = self.group.lanes(f"queue {handle}")
        return lanes
