"""What failed commands left behind: resources that nobody may read, because what they should hold was never written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pie_core.control.submission import Submission
from pie_core.errors import DeviceError, HandleError
from pie_core.inference.wave import Entry, Wave
from pie_core.resource import Resource


@dataclass(frozen=True)
class Culprit:
    """The command that should have written a resource: its call, and its place in the order of enqueueing."""

    resource: Resource
    call: str
    seq: int


class Poison:
    """Poisoned resources, by their id, with the command that failed to write each.

    Only commands enqueued after the culprit are concerned, and no longer than until a new write heals the resource.
    Empty unless something failed, which the hot path asks for each command. in_flight: the waves behind the one that
    has just failed.
    """

    def __init__(self, in_flight: Iterable[Wave[Any]]) -> None:
        self.by_id: dict[int, Culprit] = {}
        self._in_flight = in_flight

    def spread(self, failed: Submission) -> None:
        """A command failed, or will never run: what it should have written is poisoned, until it is gone.

        Commands may be waiting to read even what nobody holds any more. One that was never launched may have others
        before it that still are to read what was there.
        """
        for resource in failed.writes:
            if self._is_written_anew(resource, failed.seq):
                continue
            known = self.by_id.get(id(resource))
            if known is None or failed.launched or failed.seq < known.seq:
                self.by_id[id(resource)] = Culprit(resource, failed.command.signature().name, failed.seq)

    def lose(self, moved: Entry) -> None:
        """What a transfer should have written is gone, for all that is still to be launched."""
        for resource in moved.writes:
            if (resource.holders or resource.uses) and not self._is_written_anew(resource, 0):
                self.by_id[id(resource)] = Culprit(resource, moved.command.signature().name, 0)

    def heal(self, written: Submission) -> None:
        """A command is launched, or has run: what it writes is sound, as far as those enqueued after it can tell.

        If it fails after all, it spreads poison of its own before any of them is launched in another wave; the device
        skips those in its own wave.
        """
        for resource in written.writes:
            culprit = self.by_id.get(id(resource))
            if culprit is not None and culprit.seq < written.seq:
                del self.by_id[id(resource)]

    def forget(self, resource: Resource) -> None:
        """A resource is gone."""
        self.by_id.pop(id(resource), None)

    def check(self, name: str, reads: Sequence[Resource], writes: Sequence[Resource]) -> None:
        """Raise `HandleError` if the call `name`, made now, would touch something poisoned."""
        for culprit in self._culprits(reads, writes):
            writer = culprit.resource.writer
            if isinstance(writer, Submission) and writer.seq > culprit.seq and not culprit.resource.accumulates:
                continue  # it will be written anew before
            raise HandleError(
                f"{name}: the {culprit.resource.kind} was left unwritten by a {culprit.call} that failed; free it, or "
                "see synchronize() for the error"
            )

    def error_for(self, submission: Submission) -> DeviceError | None:
        """Why a command that is about to be launched must not be."""
        for culprit in self._culprits(submission.reads, submission.writes):
            if culprit.seq < submission.seq:
                return DeviceError(f"skipped, because a {culprit.call} it depends on failed")
        return None

    def _is_written_anew(self, resource: Resource, after: int) -> bool:
        """Whether a command enqueued after that number, and on the device already, replaces what is there."""
        writer = resource.writer
        if resource.accumulates or not isinstance(writer, Submission) or writer.seq <= after:
            return False
        return writer.launched or any(
            isinstance(entry, Submission) and entry.seq > after and resource in entry.writes
            for wave in self._in_flight
            for batch in wave.batches
            for entry in batch.entries
        )

    def _culprits(self, reads: Sequence[Resource], writes: Sequence[Resource]) -> Iterator[Culprit]:
        for resource in (*reads, *(written for written in writes if written.accumulates)):
            if id(resource) in self.by_id:
                yield self.by_id[id(resource)]
