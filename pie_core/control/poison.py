"""What failed commands left behind: resources that nobody may read, because what they should hold was never written."""

from __future__ import annotations

from collections.abc import Sequence

from pie_core.control.submission import Submission
from pie_core.errors import DeviceError, HandleError
from pie_core.resource import Resource


class Poison:
    """Poisoned resources and the call that should have written each.

    by_id: both, by the resource's id. Empty unless something failed, which the hot path asks for each command.
    """

    def __init__(self) -> None:
        self.by_id: dict[int, tuple[Resource, str]] = {}

    def spread(self, failed: Submission) -> None:
        """A command failed, or will never run: what it should have written is poisoned, if anyone still holds it."""
        for resource in failed.writes:
            if resource.holders:
                self.by_id[id(resource)] = resource, failed.command.signature().name

    def heal(self, written: Submission) -> None:
        """A command has run: what it wrote is sound."""
        for resource in written.writes:
            self.forget(resource)

    def forget(self, resource: Resource) -> None:
        """A resource is gone, or whole again."""
        self.by_id.pop(id(resource), None)

    def check(self, name: str, reads: Sequence[Resource], writes: Sequence[Resource]) -> None:
        """Raise `HandleError` if the call `name` would touch something poisoned."""
        broken = self._broken(reads, writes)
        if broken is not None:
            resource, culprit = broken
            raise HandleError(
                f"{name}: the {resource.kind} was left unwritten by a {culprit} that failed; free it, or see "
                "synchronize() for the error"
            )

    def error_for(self, submission: Submission) -> DeviceError | None:
        """Why a command that is about to be launched must not be."""
        broken = self._broken(submission.reads, submission.writes)
        return None if broken is None else DeviceError(f"skipped, because a {broken[1]} it depends on failed")

    def _broken(self, reads: Sequence[Resource], writes: Sequence[Resource]) -> tuple[Resource, str] | None:
        for resource in reads:
            if id(resource) in self.by_id:
                return self.by_id[id(resource)]
        for resource in writes:
            if resource.accumulates and id(resource) in self.by_id:
                return self.by_id[id(resource)]
        return None
