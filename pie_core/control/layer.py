"""The control layer of one model, and its door: inferlets come and go, their calls are let in.

Where a command waits, when it is launched and how it ends, the parts say that are put together here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from pie_core.command import Call, Command, ControlCall, Query
from pie_core.control.binder import Binder
from pie_core.control.budget import Budget
from pie_core.control.completion import Completion
from pie_core.control.contention import ContentionPolicy
from pie_core.control.dispatch import DispatchPolicy
from pie_core.control.environment import Environment
from pie_core.control.exports import ExportLimits
from pie_core.control.hazards import link
from pie_core.control.memory import Memory
from pie_core.control.observer import Observers
from pie_core.control.poison import Poison
from pie_core.control.pool import Pool
from pie_core.control.queue import Queue
from pie_core.control.scheduler import Scheduler
from pie_core.control.space import Space
from pie_core.control.statistics import Statistics
from pie_core.control.submission import Submission
from pie_core.control.ticket import Ticket
from pie_core.errors import ArgumentError, TerminatedError, nearest
from pie_core.inference.backend import Swapper
from pie_core.inference.device import Device
from pie_core.inference.wave import Wave
from pie_core.model import ModelInfo
from pie_core.resource import Resource

HIGHEST_HANDLE = (1 << 32) - 1


class ControlLayer:
    """One model's inferlets, and the way in for their calls. Every method is for the control thread.

    spaces: what each holds and has enqueued. memory: the pools. scheduler: what is ready, and what is launched.
    """

    def __init__(
        self,
        model: ModelInfo,
        capacity: Mapping[type[Resource], int],
        calls: Mapping[str, type[Call]],
        answers: Mapping[type[Query], Callable[[Any], Any]],
        device: Device,
        batch_limit: Callable[[type[Command]], int],
        environment: Environment,
        dispatch: DispatchPolicy,
        contention: ContentionPolicy,
        swapper: Swapper | None = None,
    ) -> None:
        self.model = model
        self.statistics = Statistics()
        self.observers = Observers()
        self.spaces: dict[str, Space] = {}
        self.budgets: dict[str, Budget] = {}  # by user
        self._binders = {name: Binder(call) for name, call in calls.items()}
        self._answers = answers
        self._environment = environment
        self._last_handle = 0
        self._sequence = count(1)
        self._arrivals = count(1)
        in_flight: deque[Wave[Any]] = deque()
        self._poison = Poison(in_flight)
        self.memory = Memory(
            capacity,
            contention,
            swapper,
            self._poison,
            self.spaces,
            environment.now,
            self._ready,
            self._evict,
            self._look,
            self._drop,
        )
        self._completion = Completion(self.memory, self._poison, self.observers, self._ready)
        self.scheduler = Scheduler(
            device,
            batch_limit,
            dispatch,
            environment,
            self.memory,
            self._completion,
            in_flight,
            self.statistics,
            self.observers,
        )

    # inferlets come and go

    @property
    def pools(self) -> Mapping[type[Resource], Pool]:
        """The pools by resource kind."""
        return self.memory.pools

    @property
    def kinds(self) -> Sequence[type[Resource]]:
        """The resource kinds of this model."""
        return tuple(self.pools)

    def open(
        self,
        owner: str,
        user: str,
        quota: Mapping[type[Resource], int] | None = None,
        export_limits: ExportLimits | None = None,
        user_quota: Mapping[type[Resource], int] | None = None,
    ) -> Space:
        """An address space for an inferlet that arrives now.

        quota: what it may hold. user_quota: what all of its user may hold, together with the user's exports.
        """
        limits = export_limits or ExportLimits()
        budget = self.budgets.setdefault(user, Budget(user))
        budget.most = user_quota or {}
        space = Space(self, owner, user, next(self._arrivals), quota or {}, limits, budget, self._environment.now())
        self.spaces[owner] = space
        self.observers.opened(space)
        return space

    def close(self, space: Space, why: TerminatedError | None = None) -> None:
        """Free all an inferlet holds and drop what it has enqueued; what is in flight ends by itself, and what runs in
        steps at the next one. What others want goes on. Idempotent."""
        if self.spaces.pop(space.owner, None) is None:
            return
        space.ended = why or TerminatedError(f"inferlet {space.owner} has ended")
        self.memory.vacate(space)

    def next_handle(self) -> int:
        """A number of 32 bits that was not a handle for the last four billion ones."""
        self._last_handle = self._last_handle % HIGHEST_HANDLE + 1
        return self._last_handle

    def _evict(self, victim: Space, why: TerminatedError) -> None:
        self.close(victim, why)
        self._environment.evicted(victim, why)

    # calls

    def call(self, space: Space, name: str, queue: int | None, arguments: Sequence[Any]) -> Any:
        """See `Space.call`."""
        space.check_alive()
        binder = self._binders.get(name)
        if binder is None:
            raise ArgumentError(f"model {self.model.name!r} has no call {name!r}{nearest(name, self._binders)}")
        kind = binder.call
        if issubclass(kind, Command):
            if queue is None:
                raise ArgumentError(f"{name}: pass a queue first")
            return self._enqueue(space, space.queue(queue, name), binder, arguments)
        if queue is not None:
            space.queue(queue, name)
        call = binder.bind(space, arguments)
        if isinstance(call, ControlCall):
            return call.apply(space)
        return self._answers[type(call)](call)

    def _enqueue(self, space: Space, queue: Queue, binder: Binder, arguments: Sequence[Any]) -> Ticket:
        command: Command = binder.bind(space, arguments)
        if self._poison.by_id:
            self._poison.check(binder.name, *binder.touched(command))
        command.prepare(self.model)
        reads, writes = binder.touched(command)
        submission = Submission(command, queue, next(self._sequence), reads, writes, self._environment.now())
        link(submission)
        queue.enter(submission)
        if self.observers.present:
            self.observers.enqueued(submission)
        space.active_at = submission.enqueued_at
        if space.swapped:
            self.memory.recall(space)
        self.scheduler.enqueued(submission)
        return submission.ticket

    # for memory and completion, which are made before what they tell

    def _ready(self, submission: Submission) -> None:
        self.scheduler.ready(submission)

    def _look(self) -> None:
        self.scheduler.look()

    def _drop(self, submission: Submission, ended: TerminatedError) -> None:
        self._completion.drop(submission, ended)
