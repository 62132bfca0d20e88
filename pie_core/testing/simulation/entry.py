"""One command as the ledger knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pie_core.command import Command
from pie_core.control.submission import Submission
from pie_core.resource import Resource
from pie_core.schema import Access
from pie_core.testing.simulation.moves import Loss


@dataclass(eq=False)
class Entry:
    """One accepted command.

    before: those unlaunched that it conflicts with. inputs: the resources it builds on, with who was to write them.
    needs: those whose results it builds on.
    """

    number: int
    submission: Submission
    owner: str
    name: str
    reads: list[Resource]
    writes: list[Resource]
    before: list[Entry] = field(default_factory=list)
    inputs: list[tuple[Resource, Entry | Loss | None]] = field(default_factory=list)
    needs: list[Entry | Loss] = field(default_factory=list)
    batch: int | None = None  # launched as part of the batch of this number, counted over all waves
    kept: bool = False  # its inferlet has ended, and others want what it writes
    finished: bool = False  # the device has reported it

    @property
    def is_running(self) -> bool:
        """Whether it was launched, and runs in steps."""
        return self.batch is not None and not self.is_out_of_the_way

    @property
    def is_out_of_the_way(self) -> bool:
        """Whether what depends on it can be launched behind it."""
        return self.batch is not None and (self.finished or not type(self.submission.command).stepwise)

    @property
    def failed(self) -> bool:
        return self.submission.done and self.submission.error is not None

    def __str__(self) -> str:
        return f"{self.owner} {self.name}#{self.number}"


def is_doomed(need: Entry | Loss) -> bool:
    """Whether it has failed, or will: it is on the device behind one that has, on which it builds."""
    if need.failed or isinstance(need, Loss):
        return need.failed
    return not need.submission.done and any(map(is_doomed, need.needs))


def older(writer: Entry | Loss | None, batch: int) -> bool:
    """Whether it wrote before this batch was launched."""
    return not isinstance(writer, Entry) or (writer.batch is not None and writer.batch < batch)


def rank(entry: Entry) -> tuple[int, int]:
    """The lowest of a kind goes first."""
    return -entry.submission.queue.priority, entry.number


def accesses(command: Command) -> tuple[list[Resource], list[Resource]]:
    """What a command reads and writes, from its declaration and what its fields hold."""
    found: dict[Access | None, list[Resource]] = {Access.READ: [], Access.WRITE: []}
    for parameter in type(command).signature().parameters:
        if parameter.type.access in found and parameter.type.resource is not None:
            value: Any = getattr(command, parameter.name)
            found[parameter.type.access] += value or ()
    return found[Access.READ], found[Access.WRITE]
