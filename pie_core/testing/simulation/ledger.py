"""An independent record of what was asked of the control layer and of what the device was given, and its rules.

It derives from each command's declared accesses alone what must come before what, by comparing the command with every
other one that is still to be launched; and what must fail, from what failed. It never looks at the control layer's own
books of dependencies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pie_core.command import Command
from pie_core.control.submission import Submission
from pie_core.control.ticket import Ticket
from pie_core.errors import DeviceError, TerminatedError
from pie_core.inference.wave import Wave
from pie_core.resource import UNBOUND, Resource
from pie_core.schema import Access
from pie_core.testing.simulation.faults import Workshop


@dataclass(eq=False)
class Entry:
    """One accepted command. before: those unlaunched that it conflicts with. needs: whose results it builds on."""

    number: int
    submission: Submission
    owner: str
    name: str
    reads: list[Resource]
    writes: list[Resource]
    before: list[Entry] = field(default_factory=list)
    needs: list[Entry] = field(default_factory=list)
    batch: int | None = None  # launched as part of the batch of this number, counted over all waves
    finished: bool = False  # the device has reported it

    @property
    def failed(self) -> bool:
        return self.submission.done and self.submission.error is not None

    def __str__(self) -> str:
        return f"{self.owner} {self.name}#{self.number}"


Complain = Callable[[str], None]


class Ledger:
    """See the module. complain: told of every broken rule."""

    def __init__(self, workshop: Workshop, limit: Callable[[type[Command]], int], complain: Complain) -> None:
        self.open: dict[int, Entry] = {}  # accepted and not done, by number
        self.in_flight: Wave[Submission] | None = None
        self.launches = 0
        self._workshop = workshop
        self._limit = limit
        self._complain = complain
        self._entries: dict[int, Entry] = {}  # by the submission's id; entries keep submissions alive
        self._touching: dict[int, list[Entry]] = {}  # unlaunched entries by the id of a resource
        self._writer: dict[int, Entry] = {}  # the last accepted writer of a resource
        self._batches = 0

    # the program's side

    def accept(self, submission: Submission, owner: str) -> Entry:
        """A command was enqueued."""
        reads, writes = _accesses(submission.command)
        entry = Entry(
            len(self._entries) + 1, submission, owner, type(submission.command).signature().name, reads, writes
        )
        self._entries[id(submission)] = self.open[entry.number] = entry
        for resource in dict.fromkeys([*reads, *writes]):
            others = self._touching.setdefault(id(resource), [])
            entry.before += [o for o in others if resource in writes or resource in o.writes]
            others.append(entry)
        for resource in [*reads, *(resource for resource in writes if resource.accumulates)]:
            writer = self._writer.get(id(resource))
            if writer is not None:
                entry.needs.append(writer)
                if writer.failed:
                    self._complain(f"{entry} was accepted, though {writer} failed, on which it builds")
        for resource in writes:
            self._writer[id(resource)] = entry
        return entry

    # the device's side

    def launch(self, wave: Wave[Submission]) -> list[list[Entry]]:
        """A wave is on its way: check order, readiness and rank. What it is made of, by batch."""
        self.launches += 1
        if self.in_flight is not None:
            self._complain("a wave was launched while one is in flight")
        self.in_flight = wave
        waiting_kinds = {type(e.submission.command) for e in self.ready()}
        if missing := waiting_kinds - {batch.kind for batch in wave.batches}:
            self._complain(f"{sorted(kind.__name__ for kind in missing)} were ready and not launched")
        launched: list[list[Entry]] = []
        for batch in wave.batches:
            self._batches += 1
            entries = [self._entries[id(submission)] for submission in batch.entries]
            for entry in entries:
                self._check_launch(entry, batch.kind)
            self._check_rank(entries, batch.kind)
            for entry in entries:
                entry.batch = self._batches
                self._forget_waiting(entry)
            launched.append(entries)
        return launched

    def _check_launch(self, entry: Entry, kind: type[Command]) -> None:
        if entry.batch is not None:
            self._complain(f"{entry} was launched twice")
        if type(entry.submission.command) is not kind:
            self._complain(f"{entry} was launched in a batch of {kind.__name__}")
        if entry.submission.done:
            self._complain(f"{entry} was launched, though it was done")
        for other in entry.before:
            if other.batch is None and not other.submission.done:
                self._complain(f"{entry} was launched before {other}, or beside it, on which it depends")
        for resource in (*entry.reads, *entry.writes):
            if resource.index == UNBOUND:
                self._complain(f"{entry} was launched without a physical {resource.kind}")

    def _check_rank(self, entries: Sequence[Entry], kind: type[Command]) -> None:
        """Of those that were ready, a batch takes the first ones by priority and age, up to the batch limit."""
        if sum(entry.submission.weight for entry in entries) > self._limit(kind) and len(entries) > 1:
            self._complain(f"a batch of {kind.__name__} is over the limit")
        worst = max(_rank(entry) for entry in entries)
        for entry in self.ready():
            if type(entry.submission.command) is kind and entry not in entries and _rank(entry) < worst:
                self._complain(f"{entry} was ready, and later or less important commands were launched before it")

    def complete(self, wave: Wave[Submission]) -> None:
        """The control layer has been told that a wave is done: check that every ticket got its own answer."""
        self.in_flight = None
        for batch in wave.batches:
            for submission in batch.entries:
                entry = self._entries[id(submission)]
                if entry.finished:
                    self._complain(f"{entry} was completed twice")
                entry.finished = True
                if not (submission.done and submission.ticket.done):
                    self._complain(f"{entry} was run, and its ticket is not done")
                    continue
                self._check_answer(entry, submission.ticket)

    def _check_answer(self, entry: Entry, ticket: Ticket) -> None:
        culprit = next((need for need in entry.needs if need.failed), None)
        failed = id(entry.submission.command) in self._workshop.failed
        error = ticket.error
        if error is None:
            if culprit is not None:
                self._complain(f"{entry} gave a result, though {culprit} failed, on which it builds")
            elif ticket.value is not self._workshop.answers.get(id(entry.submission.command), self):
                self._complain(f"{entry} got a result that is not its own")
        elif culprit is None and not failed:
            self._complain(f"{entry} failed without a reason of its own: {error}")
        elif not isinstance(error, DeviceError):
            self._complain(f"{entry} failed with {type(error).__name__}: {error}")

    # both

    def settle(self, ended: set[str]) -> None:
        """Look for what was done since the last call. ended: owners whose spaces are closed."""
        for entry in [entry for entry in self.open.values() if entry.submission.done]:
            del self.open[entry.number]
            if entry.batch is not None:
                continue
            self._forget_waiting(entry)
            error = entry.submission.error
            if not entry.submission.ticket.done or entry.submission.ticket.error is not error or error is None:
                self._complain(f"{entry} is done without having been run, and its ticket does not say so")
            elif isinstance(error, TerminatedError):
                if entry.owner not in ended:
                    self._complain(f"{entry} was dropped, though its inferlet lives")
            elif not any(need.failed for need in entry.needs):
                self._complain(f"{entry} was skipped, though all that it builds on is sound: {error}")

    def check_dropped(self, owner: str) -> None:
        """An inferlet has just ended: what only it wanted is dropped, what others hold too still runs."""
        mine = [entry for entry in self._unlaunched() if entry.owner == owner]
        must = {entry for entry in mine if any(resource.holders for resource in entry.writes)}
        may = set(must)
        for entry in reversed(mine):
            must |= {need for need in entry.needs if entry in must and need in mine}
            may |= {other for other in entry.before if entry in may}
        for entry in mine:
            if entry in must and entry.submission.done:
                self._complain(f"{entry} was dropped, though others hold what it writes")
            if entry not in may and not entry.submission.done:
                self._complain(f"{entry} is still to run, though its inferlet has ended and nobody wants it")

    def ready(self) -> Iterator[Entry]:
        """What could be launched now."""
        for entry in self.open.values():
            if entry.batch is None and not entry.submission.done and self._is_ready(entry):
                yield entry

    def _is_ready(self, entry: Entry) -> bool:
        """What is skipped while a wave is formed makes others ready too late to be held against that wave."""
        return all(other.batch is not None or other.number not in self.open for other in entry.before) and all(
            resource.index != UNBOUND for resource in (*entry.reads, *entry.writes)
        )

    def _unlaunched(self) -> list[Entry]:
        return [entry for entry in self.open.values() if entry.batch is None]

    def _forget_waiting(self, entry: Entry) -> None:
        for resource in dict.fromkeys([*entry.reads, *entry.writes]):
            if entry in self._touching[id(resource)]:  # launched twice is complained of elsewhere
                self._touching[id(resource)].remove(entry)


def _rank(entry: Entry) -> tuple[int, int]:
    return -entry.submission.queue.priority, entry.number


def _accesses(command: Command) -> tuple[list[Resource], list[Resource]]:
    """What a command reads and writes, from its declaration and what its fields hold."""
    found: dict[Access | None, list[Resource]] = {Access.READ: [], Access.WRITE: []}
    for parameter in type(command).signature().parameters:
        if parameter.type.access in found and parameter.type.resource is not None:
            value: Any = getattr(command, parameter.name)
            found[parameter.type.access] += value or ()
    return found[Access.READ], found[Access.WRITE]
