"""The control layer of one model: admits calls, keeps the books, launches waves, completes tickets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from pie_core.command import Call, Command, ControlCall, Query
from pie_core.control.batching import Backlog, form_wave
from pie_core.control.binder import Binder
from pie_core.control.contention import ContentionPolicy
from pie_core.control.dispatch import DispatchPolicy
from pie_core.control.exports import Export, Exports
from pie_core.control.hazards import link, unblock, wanted_by_others
from pie_core.control.pool import Pool
from pie_core.control.queue import Queue
from pie_core.control.space import Space
from pie_core.control.statistics import Statistics
from pie_core.control.submission import Allocation, Node, Submission
from pie_core.control.ticket import Ticket
from pie_core.errors import ArgumentError, DeviceError, HandleError, PieError, TerminatedError, nearest
from pie_core.inference.device import Device
from pie_core.inference.wave import Batch, Wave
from pie_core.model import ModelInfo
from pie_core.resource import KvPage, Resource

Soon = Callable[[Callable[[], None]], object]

_PATIENCE = 16  # looks at a busy host before launching anyway, so that a flood of commands cannot starve the device


@dataclass(frozen=True)
class Environment:
    """What the control layer must not know by itself: time, the event loop, and whom to tell of an eviction.

    `now` gives seconds; `soon` runs a function after everything that is ready to run now (`loop.call_soon`);
    `evicted` is told of an inferlet that was ended, after its resources were taken.
    """

    now: Callable[[], float]
    soon: Soon
    evicted: Callable[[Space, TerminatedError], None]


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
    ) -> None:
        self.model = model
        self.capacity = capacity
        self.statistics = Statistics()
        self.pools = {kind: Pool(kind, size) for kind, size in capacity.items()}
        self.spaces: dict[str, Space] = {}
        self._binders = {name: Binder(call) for name, call in calls.items()}
        self._answers = answers
        self._device = device
        self._batch_limit = batch_limit
        self._environment = environment
        self._dispatch_policy = dispatch
        self._contention = contention
        self._exports = Exports()
        self._backlog = Backlog()
        self._handles = count(1)
        self._sequence = count(1)
        self._arrivals = count(1)
        self._poisoned: dict[int, tuple[Resource, str]] = {}  # by id: what a failed command should have written
        self._in_flight: Wave[Submission] | None = None
        self._look_scheduled = False
        self._enqueued = 0
        self._enqueued_at_last_look = -1
        self._looks = 0

    # inferlets come and go

    @property
    def kinds(self) -> Sequence[type[Resource]]:
        """The resource kinds of this model."""
        return tuple(self.pools)

    def open(self, owner: str, user: str, quota: Mapping[type[Resource], int] | None = None) -> Space:
        """An address space for an inferlet that arrives now."""
        space = Space(self, owner, user, next(self._arrivals), quota or {})
        self.spaces[owner] = space
        return space

    def close(self, space: Space, why: TerminatedError | None = None) -> None:
        """Free all an inferlet holds and drop what it has enqueued; what is in flight ends by itself. Idempotent."""
        if self.spaces.pop(space.owner, None) is None:
            return
        space.ended = why or TerminatedError(f"inferlet {space.owner} has ended")
        waiting = [submission for queue in space.queues.values() for submission in queue.waiting()]
        kept = wanted_by_others(waiting)
        for submission in waiting:
            if submission not in kept:
                self._fail(submission, space.ended)
        self.drop(space.surrender())
        for pool in self.pools.values():
            for allocation in pool.forget(space):
                self._abandon(allocation, pool)
        self._grant()

    def _abandon(self, allocation: Allocation, pool: Pool) -> None:
        """Of an ended inferlet's waiting allocation, only what somebody still holds or uses goes on waiting."""
        for record in allocation.writes:
            record.uses -= 1
        records, allocation.writes = allocation.writes, [r for r in allocation.writes if r.holders or r.uses]
        for record in allocation.writes:
            record.uses += 1
        for record in records:
            if not (record.holders or record.uses):
                pool.draining -= 1  # as `drop` counted it; it never had an index to give back
                self._reclaim(record)
        if allocation.writes:
            pool.wait(allocation)

    def next_handle(self) -> int:
        """A number that was never a handle."""
        return next(self._handles)

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
        assert isinstance(call, Query)
        return self._answers[type(call)](call)

    def _enqueue(self, space: Space, queue: Queue, binder: Binder, arguments: Sequence[Any]) -> Ticket:
        command = binder.bind(space, arguments)
        assert isinstance(command, Command)
        if self._poisoned:
            self._check_sound(binder.name, *binder.touched(command))
        command.prepare(self.model)
        reads, writes = binder.touched(command)
        submission = Submission(command, queue, next(self._sequence), reads, writes, self._environment.now())
        link(submission)
        queue.enter(submission)
        self._enqueued += 1
        if submission.blockers == 0:
            self._backlog.add(submission)
            self._look()
        return submission.ticket

    # resources

    def allocate(self, space: Space, kind: type[Resource], records: Sequence[Resource]) -> None:
        """Bind fresh records, now or when the pool has room. Raises if the policy ends the inferlet that asks."""
        pool = self.pools[kind]
        if pool.take(records):
            return
        allocation = Allocation(space, records)
        for record in records:
            record.writer = allocation
            record.uses += 1
        pool.wait(allocation)
        self._make_room(pool, space)

    def drop(self, records: Sequence[Resource]) -> None:
        """One holder fewer. What nobody holds or uses goes back to its pool."""
        for record in records:
            record.holders -= 1
            if record.holders == 0:
                if record.uses:
                    self.pools[type(record)].draining += 1
                else:
                    self._reclaim(record)
        self._grant()

    def export(self, space: Space, pages: Sequence[KvPage], name: str, ttl: float | None) -> None:
        """See `Space.export`."""
        if ttl is not None and not ttl > 0:
            raise ArgumentError(f"export_kvpage: a ttl of {ttl} seconds is none; name more than 0, or None for no end")
        now = self._environment.now()
        self._expire(now)
        export = Export(name, space.owner, tuple(pages), now, None if ttl is None else now + ttl)
        self._exports.publish(space.user, export)
        for page in pages:
            page.holders += 1

    def exported(self, user: str, name: str) -> Sequence[KvPage]:
        """The pages published under a name. Raises `HandleError` naming the near ones."""
        self._expire(self._environment.now())
        return self._exports.find(user, name, "import_kvpage").pages

    def import_(self, space: Space, name: str) -> Sequence[KvPage]:
        """See `Space.import_`."""
        pages = self.exported(space.user, name)
        for page in pages:
            page.holders += 1
        return pages

    def exports_of(self, user: str) -> list[tuple[Export, float]]:
        """See `Space.exports`."""
        now = self._environment.now()
        self._expire(now)
        return [(export, now - export.exported_at) for export in self._exports.of(user)]

    def release(self, user: str, name: str) -> None:
        """See `Space.release`."""
        self.drop(self._exports.withdraw(user, name).pages)

    def _expire(self, now: float) -> None:
        for user, name in list(self._exports.expired(now)):
            self.release(user, name)

    def _make_room(self, pool: Pool, requester: Space) -> None:
        self._expire(self._environment.now())
        while pool.wanted:
            holders = [s for s in self.spaces.values() if s is requester or s.holds(pool.kind)]
            victim = self._contention.victim(pool.kind, requester, sorted(holders, key=lambda s: s.arrival))
            if victim is None:
                return
            self._evict(victim, pool)
        requester.check_alive()

    def _evict(self, victim: Space, pool: Pool) -> None:
        why = TerminatedError(
            f"inferlet {victim.owner} was ended by the contention policy {self._contention.name!r}: all "
            f"{pool.capacity} {pool.kind.kind}s are in use and it came last; run fewer inferlets at a time, free "
            f"{pool.kind.kind}s earlier, or start the server with a larger pool"
        )
        self.close(victim, why)
        self._environment.evicted(victim, why)

    def _reclaim(self, record: Resource) -> None:
        self._poisoned.pop(id(record), None)
        self.pools[type(record)].give(record)

    def _grant(self) -> None:
        for pool in self.pools.values():
            for allocation in pool.grant():
                self._settle(allocation)
                for successor in unblock(allocation):
                    self._backlog.add(successor)
                self._look()

    # waves

    def _look(self) -> None:
        """Have a look at the backlog once everything that can run now has run."""
        if not self._look_scheduled:
            self._look_scheduled = True
            self._environment.soon(self._consider)

    def _consider(self) -> None:
        self._look_scheduled = False
        if not self._backlog:
            return
        quiet = self._enqueued == self._enqueued_at_last_look or self._looks >= _PATIENCE
        self._enqueued_at_last_look = self._enqueued
        self._looks += 1
        idle = self._in_flight is None
        if self._dispatch_policy.due(self._backlog, idle=idle, quiet=quiet, now=self._environment.now()):
            self._launch()
        elif idle and not quiet:
            self._look()

    def _launch(self) -> None:
        self._looks = 0
        wave = form_wave(self._backlog, self._batch_limit, self._refuse if self._poisoned else None)
        if not wave.batches:
            return
        wave.launched_at = self._environment.now()
        self._in_flight = wave
        self.statistics.launched(wave)
        self._device.launch(wave, self._completed)

    def _completed(self) -> None:
        wave, self._in_flight = self._in_flight, None
        assert wave is not None
        self._enqueued_at_last_look = -1  # those about to be woken get one more turn before the next wave
        self.statistics.completed(wave, self._environment.now())
        for batch in wave.batches:
            self._complete(batch)
        self._grant()
        if self._backlog:
            self._look()

    def _complete(self, batch: Batch[Submission]) -> None:
        for place, submission in enumerate(batch.entries):
            error = batch.errors.get(place) if batch.errors else None
            if error is None:
                if self._poisoned:
                    self._heal(submission)
                self._finish(submission, batch.results[place])
            else:
                self._fail(submission, error)

    def _finish(self, submission: Submission, result: Any) -> None:
        submission.done = True
        self._settle(submission)
        submission.queue.leave(submission)
        submission.ticket.resolve(result)

    def _fail(self, submission: Submission, error: PieError) -> None:
        """A command failed, or will never run: what it should have written is poisoned, its successors go on."""
        submission.done, submission.error = True, error
        for resource in submission.writes:
            if resource.holders:
                self._poisoned[id(resource)] = resource, type(submission.command).signature().name
        if not submission.launched:
            for successor in unblock(submission):
                if not successor.done:
                    self._backlog.add(successor)
                    self._look()
        self._settle(submission)
        submission.queue.leave(submission)
        submission.ticket.fail(error)

    def _settle(self, submission: Node) -> None:
        """The device (or the pool) is done with what the submission touched."""
        for resource in submission.reads:
            resource.uses -= 1
            if resource.uses == 0 and resource.holders == 0:
                self._drained(resource)
        for resource in submission.writes:
            if resource.writer is submission:
                resource.writer = None
            resource.uses -= 1
            if resource.uses == 0 and resource.holders == 0:
                self._drained(resource)

    def _drained(self, resource: Resource) -> None:
        self.pools[type(resource)].draining -= 1
        self._reclaim(resource)

    # failures

    def _check_sound(self, name: str, reads: Sequence[Resource], writes: Sequence[Resource]) -> None:
        broken = self._broken(reads, writes)
        if broken is not None:
            resource, culprit = broken
            raise HandleError(
                f"{name}: the {resource.kind} was left unwritten by a {culprit} that failed; free it, or see "
                "synchronize() for the error"
            )

    def _refuse(self, submission: Submission) -> bool:
        broken = self._broken(submission.reads, submission.writes)
        if broken is None:
            return False
        self._fail(submission, DeviceError(f"skipped, because a {broken[1]} it depends on failed"))
        return True

    def _broken(self, reads: Sequence[Resource], writes: Sequence[Resource]) -> tuple[Resource, str] | None:
        for resource in reads:
            if id(resource) in self._poisoned:
                return self._poisoned[id(resource)]
        for resource in writes:
            if resource.accumulates and id(resource) in self._poisoned:
                return self._poisoned[id(resource)]
        return None

    def _heal(self, submission: Submission) -> None:
        for resource in submission.writes:
            self._poisoned.pop(id(resource), None)
