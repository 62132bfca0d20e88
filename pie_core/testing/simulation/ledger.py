"""An independent record of what was asked of the control layer and of what the device was given, and its rules.

It derives from each command's declared accesses alone what must come before what, by comparing the command with every
other one that is still to be launched; and what must fail, from what failed. It never looks at the control layer's own
books of dependencies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pie_core.command import Command
from pie_core.control.submission import Submission
from pie_core.control.swapping import Transfer
from pie_core.control.ticket import Ticket
from pie_core.errors import DeviceError, TerminatedError
from pie_core.inference.stepping import Conclusion
from pie_core.inference.wave import Batch, Wave
from pie_core.resource import UNBOUND
from pie_core.testing.simulation.entry import Entry, accesses, is_doomed, older, rank
from pie_core.testing.simulation.faults import Workshop
from pie_core.testing.simulation.moves import Loss, Move, Moves
from pie_core.testing.simulation.steps import Steps

Complain = Callable[[str], None]


class Ledger:
    """See the module.

    complain: told of every broken rule. lost: of an inferlet that loses what was moved for it, or still was to run.
    """

    def __init__(
        self,
        workshop: Workshop,
        limit: Callable[[type[Command]], int],
        moves: Moves,
        complain: Complain,
        lost: Callable[[str], None],
    ) -> None:
        self.open: dict[int, Entry] = {}  # accepted and not done, by number
        self.in_flight: deque[Wave[Any]] = deque()
        self.launches = 0  # of waves with commands
        self.moves = moves
        self.ended: set[str] = set()  # owners whose spaces are closed
        self.steps = Steps(self.open, self._entry, self._wanted, self.ended, complain)
        self.back: dict[str, list[Entry]] = {}  # commands for which an inferlet was last brought back, by owner
        self._lost = lost
        self._workshop = workshop
        self._limit = limit
        self._complain = complain
        self._entries: dict[int, Entry] = {}  # by the submission's id; entries keep submissions alive
        self._touching: dict[int, list[Entry]] = {}  # entries that are in the way, by the id of a resource
        self._writer: dict[int, Entry | Loss] = {}  # who was last to write a resource
        self._batches = 0

    # the program's side

    def knows(self, submission: Submission) -> bool:
        """Whether it was accepted before."""
        return id(submission) in self._entries

    def accept(self, submission: Submission, owner: str) -> Entry:
        """A command was enqueued."""
        reads, writes = accesses(submission.command)
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
            entry.inputs.append((resource, writer))
            if writer is not None:
                entry.needs.append(writer)
                if writer.failed:
                    self._complain(f"{entry} was accepted, though {writer} failed, on which it builds")
        for resource in writes:
            self._writer[id(resource)] = entry
        self.steps.accept(entry)
        return entry

    # the device's side

    def launch(self, wave: Wave[Any]) -> list[list[object]]:
        """A wave is on its way: check order, readiness and rank. What it is made of, by batch."""
        launched: list[list[object]] = []
        commands = [batch for batch in wave.batches if not isinstance(batch.entries[0], Transfer)]
        if len(commands) < len(wave.batches):
            moving = wave.batches[: len(wave.batches) - len(commands)]
            launched += self._launch_transfers(moving)
        self.in_flight.append(wave)
        if not commands:
            return launched
        self.launches += 1
        waiting_kinds = {type(e.submission.command) for e in self.ready()}
        if missing := waiting_kinds - {batch.kind for batch in commands}:
            self._complain(f"{sorted(kind.__name__ for kind in missing)} were ready and not launched")
        for batch in commands:
            self._batches += 1
            entries = [self._entry(submission) for submission in batch.entries]
            for entry in entries:
                self._check_launch(entry, batch.kind)
            self._check_rank(entries, batch.kind)
            for entry in entries:
                entry.batch = self._batches
                if entry.is_out_of_the_way:
                    self._forget_waiting(entry)
            launched.append([*entries])
        return launched

    def _launch_transfers(self, batches: Sequence[Batch[Any]]) -> list[list[object]]:
        running = [entry for entry in self.open.values() if entry.batch is not None and not entry.submission.done]
        busy = {entry.owner for entry in (*running, *self.ready())}
        touched = {id(resource) for entry in running for resource in (*entry.reads, *entry.writes)}
        launched: list[list[object]] = []
        for batch in batches:
            self._batches += 1
            if not all(isinstance(entry, Transfer) for entry in batch.entries):
                self._complain("a wave does not begin with its transfers")
                break
            for transfer in batch.entries:
                returning = set(map(id, transfer.writes))
                if returning:
                    self.back[transfer.swapped.space.owner] = self._waiting_for(returning)
            launched.append([self.moves.launch(entry, self._batches, busy, touched) for entry in batch.entries])
        return launched

    def _check_launch(self, entry: Entry, kind: type[Command]) -> None:
        if entry.batch is not None:
            self._complain(f"{entry} was launched twice")
        if type(entry.submission.command) is not kind:
            self._complain(f"{entry} was launched in a batch of {kind.__name__}")
        if entry.submission.done:
            self._complain(f"{entry} was launched, though it was done")
        for other in entry.before:
            if not (other.is_out_of_the_way or other.submission.done):
                self._complain(f"{entry} was launched before {other}, or beside it, on which it depends")
        for resource in (*entry.reads, *entry.writes):
            if resource.index == UNBOUND:
                self._complain(f"{entry} was launched without a physical {resource.kind}")
            if id(resource) in self.moves.away:
                self._complain(f"{entry} was launched, though its {resource.kind} is in host memory")

    def _check_rank(self, entries: Sequence[Entry], kind: type[Command]) -> None:
        """Of those that were ready, a batch takes the first ones by priority and age, up to the batch limit."""
        if sum(entry.submission.weight for entry in entries) > self._limit(kind) and len(entries) > 1:
            self._complain(f"a batch of {kind.__name__} is over the limit")
        worst = max(rank(entry) for entry in entries)
        for entry in self.ready():
            if type(entry.submission.command) is kind and entry not in entries and rank(entry) < worst:
                self._complain(f"{entry} was ready, and later or less important commands were launched before it")

    def complete(self, wave: Wave[Any]) -> None:
        """The control layer has been told that a wave is done: check that every ticket got its own answer."""
        if not self.in_flight or self.in_flight.popleft() is not wave:
            self._complain("waves are done in another order than they were launched")
        for batch in wave.batches:
            for place, submission in enumerate(batch.entries):
                if batch.kind.stepwise and place not in batch.errors:
                    continue  # it has only begun
                if isinstance(submission, Transfer):
                    move = self.moves.complete(submission, batch.results[place], batch.errors.get(place))
                    if move is not None:
                        self._lose(move)
                    continue
                self._finish(submission)

    def conclude(self, ended: Sequence[Conclusion]) -> None:
        """The control layer has been told that commands which ran in steps have ended."""
        for submission, result, error in ended:
            self._finish(submission, stopped=result is None and error is None)

    def _finish(self, submission: Submission, stopped: bool = False) -> None:
        entry = self._entry(submission)
        if entry.finished:
            self._complain(f"{entry} was completed twice")
        elif entry.is_running:
            self._forget_waiting(entry)
        entry.finished = True
        if not (submission.done and submission.ticket.done):
            self._complain(f"{entry} was run, and its ticket is not done")
        elif not stopped:
            self._check_answer(entry, submission.ticket)

    def _lose(self, move: Move) -> None:
        """What could not be brought back is missed by all that build on what was there when it was moved."""
        loss = Loss(move.owner, move.wanted)
        lost = {id(resource) for resource in move.wanted}
        for entry in self.open.values():
            if any(id(resource) in lost and older(writer, move.batch) for resource, writer in entry.inputs):
                entry.needs.append(loss)
        for key in lost:
            if older(self._writer.get(key), move.batch):
                self._writer[key] = loss
        self._lost(move.owner)

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

    def settle(self) -> None:
        """Look for what was done since the last call."""
        for entry in [entry for entry in self.open.values() if entry.submission.done]:
            del self.open[entry.number]
            self.steps.settle(entry)
            if entry.batch is not None:
                if not entry.finished:
                    self._complain(f"{entry} is done, and the device has not reported it")
                continue
            self._forget_waiting(entry)
            error = entry.submission.error
            if not entry.submission.ticket.done or entry.submission.ticket.error is not error or error is None:
                self._complain(f"{entry} is done without having been run, and its ticket does not say so")
            elif isinstance(error, TerminatedError):
                if entry.owner not in self.ended:
                    self._complain(f"{entry} was dropped, though its inferlet lives")
                if entry.kept:
                    self._lost(entry.owner)
            elif not any(map(is_doomed, entry.needs)):
                self._complain(f"{entry} was skipped, though all that it builds on is sound: {error}")

    def check_dropped(self, owner: str) -> None:
        """An inferlet has just ended: what others want of it still runs."""
        must, _ = self._wanted()
        for entry in self._unlaunched():
            if entry.owner == owner:
                entry.kept = not entry.submission.done
                if entry in must and entry.submission.done:
                    self._complain(f"{entry} was dropped, though others want what it writes")

    def check_left(self) -> None:
        """What ended inferlets have left waiting, and nobody wants any more, is dropped."""
        left = [entry for entry in self._unlaunched() if entry.owner in self.ended and not entry.submission.done]
        if left:
            _, may = self._wanted()
            for entry in left:
                if entry not in may:
                    self._complain(f"{entry} is still to run, though its inferlet has ended and nobody wants it")

    def _wanted(self) -> tuple[set[Entry], set[Entry]]:
        """Of the commands of ended inferlets that wait, or run in steps: those whose results others build on, and those
        they wait for."""
        waiting = [entry for entry in self.open.values() if not entry.is_out_of_the_way]
        alive = [entry for entry in waiting if entry.owner not in self.ended and not entry.submission.done]
        left = [entry for entry in waiting if entry.owner in self.ended]
        must = {entry for entry in left if any(resource.holders for resource in entry.writes)}
        must |= {need for need in left if any(need in entry.needs for entry in alive)}
        may = must | {other for entry in alive for other in entry.before}
        for entry in reversed(left):
            must |= {need for need in left if entry in must and need in entry.needs}
            may |= {other for other in entry.before if entry in may}
        return must, may

    def ready(self) -> Iterator[Entry]:
        """What could be launched now."""
        for entry in self.open.values():
            if entry.batch is None and not entry.submission.done and self._is_ready(entry):
                yield entry

    def _is_ready(self, entry: Entry) -> bool:
        """What is skipped while a wave is formed makes others ready too late to be held against that wave."""
        return all(other.is_out_of_the_way or other.number not in self.open for other in entry.before) and all(
            resource.index != UNBOUND and id(resource) not in self.moves.away
            for resource in (*entry.reads, *entry.writes)
        )

    def _entry(self, submission: Submission) -> Entry:
        return self._entries[id(submission)]

    def _waiting_for(self, records: set[int]) -> list[Entry]:
        return [e for e in self._unlaunched() if any(id(r) in records for r in (*e.reads, *e.writes))]

    def _unlaunched(self) -> list[Entry]:
        return [entry for entry in self.open.values() if entry.batch is None]

    def _forget_waiting(self, entry: Entry) -> None:
        for resource in dict.fromkeys([*entry.reads, *entry.writes]):
            if entry in self._touching[id(resource)]:  # launched twice is complained of elsewhere
                self._touching[id(resource)].remove(entry)
