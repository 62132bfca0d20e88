"""The control layer of one model: admits calls, keeps the books, launches waves, completes tickets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from pie_core.command import Call, Command, ControlCall, Query
from pie_core.control.batching import Backlog, form_wave
from pie_core.control.binder import Binder
from pie_core.control.budget import Budget
from pie_core.control.contention import ContentionPolicy
from pie_core.control.dispatch import DispatchPolicy
from pie_core.control.environment import Environment
from pie_core.control.exports import ExportLimits
from pie_core.control.hazards import link, unblock, wanted_by_others
from pie_core.control.host_work import HostWork
from pie_core.control.memory import Memory
from pie_core.control.observer import Observers
from pie_core.control.poison import Poison
from pie_core.control.pool import Pool
from pie_core.control.queue import Queue
from pie_core.control.space import Space
from pie_core.control.statistics import Statistics
from pie_core.control.submission import Staging, Submission
from pie_core.control.swapping import Transfer
from pie_core.control.ticket import Ticket
from pie_core.errors import ArgumentError, PieError, TerminatedError, nearest
from pie_core.inference.backend import Swapper
from pie_core.inference.device import Device
from pie_core.inference.running import device_error
from pie_core.inference.stepping import Conclusion
from pie_core.inference.wave import Batch, Wave
from pie_core.model import ModelInfo
from pie_core.resource import Resource

HIGHEST_HANDLE = (1 << 32) - 1
_RELIEF_S = 0.1  # how often to see whether something can be done for who waits for room, if nothing else happens
_HAIR_S = 1e-6  # so that no rounding makes a look come before its time
_PATIENCE = 16  # looks at a busy host before launching anyway, so that a flood of commands cannot starve the device


class ControlLayer:
    """One model's queues, spaces and pools. Every method is for the control thread."""

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
        self._device = device
        self._batch_limit = batch_limit
        self._environment = environment
        self._dispatch_policy = dispatch
        self._in_flight: deque[Wave[Any]] = deque()  # in the order of their launches
        self._poison = Poison(self._in_flight)
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
            self._drop_unwanted,
        )
        self._backlog = Backlog()
        self._host_work = HostWork(device, self._refuse, self._worked, self.observers.begun)
        self._running = 0  # commands that run in steps
        self._unstaged = 0  # commands that wait and whose part on the host has failed
        self._last_handle = 0
        self._sequence = count(1)
        self._arrivals = count(1)
        self._look_scheduled = False
        self._alarm: float | None = None  # when a look is due without anything having changed
        self._enqueued = 0
        self._enqueued_at_last_look = -1
        self._looks = 0
        self._awaited = False  # what runs in steps may wait to hear whether programs ask for more

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
        self._enqueued += 1
        if self.observers:
            self.observers.enqueued(submission)
        if command.staged:
            self._host_work.add(Staging(submission))
        space.active_at = submission.enqueued_at
        if space.swapped:
            self.memory.recall(space)
        if submission.blockers == 0:
            self._ready(submission)
            if self._dispatch_policy.immediate:
                self._consider()
        return submission.ticket

    def _evict(self, victim: Space, why: TerminatedError) -> None:
        if victim.ended is not None:  # only what others wanted of it is left
            for submission in victim.unfinished():
                self._drop(submission, victim.ended)
            self.memory.drop(())
            return
        self.close(victim, why)
        self._environment.evicted(victim, why)

    def _drop_unwanted(self, left: Sequence[Space]) -> None:
        """Drop what ended inferlets have left waiting, or running in steps, but for what somebody still wants."""
        unfinished = [submission for space in left for submission in space.unfinished()]
        kept = wanted_by_others(unfinished)
        for submission in unfinished:
            ended = submission.queue.space.ended
            if submission not in kept and ended is not None:
                self._drop(submission, ended)

    def _drop(self, submission: Submission, ended: TerminatedError) -> None:
        """Of an ended inferlet."""
        if submission.running:
            submission.stopped = True
        else:
            self._fail(submission, ended)

    # waves

    def _ready(self, submission: Submission) -> None:
        """Nothing stands before this command any more."""
        if submission.command.place == "host":
            self._host_work.add(submission)
            return
        self._backlog.add(submission)
        self._look()

    def _look(self) -> None:
        """Have a look at the backlog once everything that can run now has run."""
        if not self._look_scheduled:
            self._look_scheduled = True
            self._environment.soon(self._consider)

    def _consider(self) -> None:
        self._look_scheduled = False
        memory, now = self.memory, self._environment.now()
        waited_for = memory.waited_for
        if not (self._backlog or waited_for or memory.swapping.transfers or self._awaited):
            return
        changed = self._enqueued != self._enqueued_at_last_look
        quiet = not changed or self._looks >= _PATIENCE
        self._enqueued_at_last_look = self._enqueued
        self._looks = self._looks + 1 if changed else 0
        idle = not self._in_flight
        if changed:
            memory.stir()
        if waited_for:
            self._look_at(now + _RELIEF_S, now)
            if quiet:
                memory.expire()  # first, for somebody may be able to go on then
                memory.relieve(standstill=idle and not (self._backlog or self._host_work or self._running))
        due = self._due(idle, quiet, now)
        if due or memory.swapping.transfers:
            self._awaited = False
            self._launch(due)
        elif idle and not quiet:
            self._look()
        elif self._awaited and quiet:
            self._awaited = False
            self._device.proceed()

    def _due(self, idle: bool, quiet: bool, now: float) -> bool:
        if not self._backlog:
            return False
        due = self._dispatch_policy.due(self._backlog, idle=idle, quiet=quiet, now=now)
        if isinstance(due, bool):
            return due
        self._look_at(due, now)
        return False

    def _look_at(self, when: float, now: float) -> None:
        """Have a look then, if nothing makes one happen before."""
        if self._alarm is None or self._alarm > when:
            self._alarm = when
            self._environment.later(max(0.0, when - now) + _HAIR_S, lambda: self._ring(when))

    def _ring(self, when: float) -> None:
        if when == self._alarm:  # else an earlier one has taken its place; each look says when the next is due
            self._alarm = None
            self._look()

    def _launch(self, due: bool) -> None:
        """Launch what is to be moved to host memory or back, and, if they are due, the commands that are ready."""
        wave: Wave[Any] = Wave()  # of submissions, but for the transfers at its front
        if self.memory.swapping.transfers:
            transfers, ready = self.memory.swapping.depart()
            wave.batches += transfers
            for submission in ready:
                self._backlog.add(submission)
        refuse = None
        if due:
            self._looks = 0
            refuse = self._refuse if self._poison.by_id or self._unstaged else None
            wave.batches += form_wave(self._backlog, self._batch_limit, refuse).batches
            self._running += sum(len(batch.entries) for batch in wave.batches if batch.kind.stepwise)
        if wave.batches:
            wave.launched_at = self._environment.now()
            wave.chained = bool(self._in_flight)
            self._in_flight.append(wave)
            self.statistics.launched(wave)
            self.observers.launched(wave)
            self._device.launch(wave, self._completed, self._concluded)
        if refuse is not None:
            self.memory.grant()  # what was skipped uses nothing any more
        if wave.batches and self._backlog:
            self._look()

    def _completed(self) -> None:
        wave = self._in_flight.popleft()
        self._enqueued_at_last_look = -1  # those about to be woken get one more turn before the next wave
        self.statistics.completed(wave, self._environment.now())
        self.observers.completed(wave)
        for batch in wave.batches:
            self._complete(batch)
        self.memory.grant()
        self._awaited = self._running > 0
        if self._backlog or self.memory.waited_for or self._awaited:
            self._look()

    def _worked(self, submission: Submission, result: Any, error: PieError | None) -> None:
        """A command of the host has run. What waits for it may go on only now: threads keep no order."""
        self._enqueued_at_last_look = -1  # as after a wave
        self.statistics.worked(submission, self._environment.now())
        if isinstance(submission, Staging):
            self._staged(submission, error)
        else:
            self._conclude(submission, result, error)
        self.memory.grant()
        self._look()

    def _concluded(self, ended: Sequence[Conclusion]) -> None:
        """Commands that ran in steps have ended. What waits for one may go on only now, as after one of the host."""
        self._enqueued_at_last_look = -1
        for submission, result, error in ended:
            self._conclude(submission, result, error)
            self.statistics.concluded(submission)
            self.observers.concluded(submission)
        self._awaited = self._running > 0
        self.memory.grant()
        self._look()

    def _conclude(self, submission: Submission, result: Any, error: PieError | None) -> None:
        error = error or self._book(submission, result)
        if error is not None:
            self._fail(submission, error)
            return
        if self._poison.by_id:
            self._poison.heal(submission)
        for successor in unblock(submission):
            if not successor.done:
                self._ready(successor)
        self._finish(submission, result)

    def _staged(self, stage: Staging, error: PieError | None) -> None:
        """The part on the host has run. One that failed still takes its turn: what is behind it counts on that."""
        if error is not None and stage.wanted:
            stage.of.error = error
            self._unstaged += 1
        for submission in unblock(stage):
            self._ready(submission)

    def _complete(self, batch: Batch[Any]) -> None:
        for place, submission in enumerate(batch.entries):
            error = batch.errors.get(place) if batch.errors else None
            if isinstance(submission, Transfer):
                self.memory.swapping.completed(submission, batch.results[place], error)
            elif error is not None:
                self._fail(submission, error)
            elif not batch.kind.stepwise:  # those have only begun
                if self._poison.by_id:
                    self._poison.heal(submission)
                self._finish(submission, batch.results[place])

    def _finish(self, submission: Submission, result: Any) -> None:
        submission.done = True
        self._settle(submission, result)
        submission.queue.leave(submission)
        submission.ticket.resolve(result)

    def _fail(self, submission: Submission, error: PieError) -> None:
        """A command failed, or will never run: what it should have written is poisoned, its successors go on."""
        self._unstaged -= submission.error is not None
        submission.done, submission.error = True, error
        self._poison.spread(submission)
        if not submission.launched:
            for successor in unblock(submission):
                if not successor.done:
                    self._ready(successor)
        self._settle(submission, None)
        submission.queue.leave(submission)
        submission.ticket.fail(error)

    def _settle(self, submission: Submission, result: Any) -> None:
        if submission.command.stepwise:
            self._running -= submission.running
            submission.running = False
            self._book(submission, result)
        if self.observers:
            self.observers.settled(submission)
        self.memory.settle(submission)

    def _book(self, submission: Submission, result: Any) -> PieError | None:
        """Have a command that runs in steps bring the books up to what it has done, once. Its error is its alone."""
        if submission.booked or not submission.command.stepwise:
            return None
        submission.booked = True
        try:
            submission.command.conclude(result)
        except Exception as error:
            return device_error(submission.command, error, "host")
        return None

    def _refuse(self, submission: Submission) -> bool:
        error = submission.error or self._poison.error_for(submission)
        if error is None:
            self._poison.heal(submission)
            return False
        self._fail(submission, error)
        return True
