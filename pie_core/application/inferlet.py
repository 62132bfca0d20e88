"""One running program: identity, arguments, messages, address spaces, outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pie_core.application.accounts import Account
from pie_core.application.capabilities import Grant
from pie_core.application.channel import Channel, Reading
from pie_core.application.events import Ended, Event, event_size
from pie_core.application.limits import Limits
from pie_core.application.program import Program
from pie_core.control.space import Space
from pie_core.control.ticket import Ticket
from pie_core.errors import ArgumentError, PieError, TerminatedError
from pie_core.resource import Resource


class Outbox(Protocol):
    """Where the events of an inferlet go."""

    def put(self, event: Event) -> None:
        """Take an event. Raises `PieError` if there is no room for it."""
        ...

    def get(self) -> Reading:
        """A ticket for the next event."""
        ...

    def close(self, why: PieError, last: Ended) -> None:
        """The last event; reads after it get the error. Idempotent."""
        ...


class Family:
    """An inferlet that a client launched, and its descendants."""

    def __init__(self) -> None:
        self.live = 0  # descendants that have not ended

    def left(self) -> None:
        """One has ended."""
        self.live -= 1


class Inferlet:
    """Everything that is shared by the tiers. `events` is what its client reads; it always closes with `Ended`.

    A child has a `parent`, and an `outbox` that is its parent's. `sandboxed`: it and its children must be, whatever
    the tier of the server.
    """

    def __init__(
        self,
        instance_id: str,
        account: Account,
        program: Program,
        arguments: list[str],
        flags: Mapping[str, Any],
        limits: Limits,
        grant: Grant,
        started_at: float,
        open_space: Callable[[Inferlet, str], Space],
        parent: Inferlet | None = None,
        outbox: Outbox | None = None,
        sandboxed: bool = False,
    ) -> None:
        self.id = instance_id
        self.account = account  # of its user
        self.program = program
        self.arguments = arguments
        self.flags = flags  # of its manifest, with the values of this launch
        self.limits = limits
        self.grant = grant
        self.started_at = started_at
        self.parent = parent
        self.sandboxed = sandboxed
        self.depth: int = 0 if parent is None else parent.depth + 1  # below the one that a client launched
        self.family: Family = Family() if parent is None else parent.family
        self.spaces: dict[str, Space] = {}  # by model name, opened at first use
        inbox, most = limits.inbox_messages, limits.waiting_bytes
        self.inbox = Channel(f"inbox of inferlet {instance_id}", inbox, most)
        self.blob_inbox = Channel(f"blob inbox of inferlet {instance_id}", inbox, most)
        self.events = outbox or Channel(f"outbox of inferlet {instance_id}", limits.outbox_messages, most, event_size)
        self.returned: str | None = None
        self.outcome: Ended | None = None
        self.ended = Ticket()
        self._open_space = open_space

    @property
    def user(self) -> str:
        """Whose it is."""
        return self.account.user

    def space(self, model: str) -> Space:
        """The address space of a model, opened when it is first asked for."""
        if model not in self.spaces:
            self.check_running()
            self.spaces[model] = self._open_space(self, model)
        return self.spaces[model]

    def emit(self, event: Event) -> None:
        """Send something to the client."""
        self.check_running()
        self.events.put(event)

    def deliver(self, message: str | bytes) -> None:
        """A message or blob from the client."""
        self.check_running()
        self.check_size(message)
        (self.inbox if isinstance(message, str) else self.blob_inbox).put(message)

    def check_size(self, message: str | bytes) -> None:
        """Refuse a message over the limit."""
        size = len(message)
        if isinstance(message, str) and 4 * size > self.limits.message_bytes:
            size = len(message.encode("utf-8", "surrogatepass"))
        if size > self.limits.message_bytes:
            raise ArgumentError(
                f"a message of {size} bytes is over the limit of {self.limits.message_bytes}; send it in parts"
            )

    def check_running(self) -> None:
        """Raise if it has ended."""
        if self.outcome is not None:
            raise TerminatedError(f"inferlet {self.id} has ended ({self.outcome.status})")

    def end(self, outcome: Ended) -> None:
        """Note how it ended and tell everyone who waits. Only the first outcome counts."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        why = TerminatedError(f"inferlet {self.id} has ended ({outcome.status})")
        self.inbox.close(why)
        self.blob_inbox.close(why)
        self.events.close(why, last=outcome)
        self.ended.resolve(outcome)

    def facts(self, now: float) -> dict[str, Any]:
        """For listings."""
        return {
            "id": self.id,
            "user": self.user,
            "parent": None if self.parent is None else self.parent.id,
            "program": self.program.name,
            "status": "running" if self.outcome is None else self.outcome.status,
            "seconds": round(now - self.started_at, 3),
            "held": self._count(Space.holds),
            "unbound": self._count(Space.unbound),
        }

    def _count(self, of: Callable[[Space, type[Resource]], int]) -> Mapping[str, int]:
        kinds = {kind for space in self.spaces.values() for kind in space.model_kinds}
        return {kind.kind: sum(of(space, kind) for space in self.spaces.values()) for kind in kinds}
