"""Programs that a program starts: ordinary inferlets, whose client is their parent and who end with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from pie_core.application.calls.base import MaybeText
from pie_core.application.channel import Channel, Reading
from pie_core.application.events import Blob, Ended, Event, Message, Output
from pie_core.application.limits import Limits
from pie_core.application.program import Program
from pie_core.application.work import Work
from pie_core.control.ticket import Ticket
from pie_core.errors import (
    ArgumentError,
    HandleError,
    PieError,
    ProgramError,
    ResourceError,
    TerminatedError,
)

if TYPE_CHECKING:
    from pie_core.application.inferlet import Inferlet

MOST_ENDED = 64  # children of one inferlet that have ended and that nobody has joined

_ERRORS: dict[str | None, type[PieError]] = {
    kind.code: kind for kind in (ArgumentError, ResourceError, ProgramError, TerminatedError)
}


class Launcher(Protocol):
    """What starts and ends inferlets: the application."""

    async def launch_child(
        self, program: Program, arguments: Sequence[str], parent: Inferlet, outbox: Child
    ) -> Inferlet:
        """Start a program for `parent`, under its user and with no more than its capabilities. Raises `PieError`."""
        ...

    def stop(self, inferlet: Inferlet, why: str) -> None:
        """End an inferlet, now."""
        ...


class Child:
    """What a parent holds of a child, and where the child's events go: texts here, output to the parent's client."""

    def __init__(self, name: str, parent: Inferlet, limits: Limits, sandboxed: bool) -> None:
        """limits: its own. sandboxed: whether it runs in the sandbox whatever its parent does."""
        self.limits = limits
        self.sandboxed = sandboxed
        self.joined = Ticket()  # `MaybeText`, or the error that it ended with
        self.messages = Channel(f"messages of child {name!r:.60}", *_room(parent))
        self.was_joined = False
        self.inferlet: Inferlet | None = None  # until it is launched
        # what it was sent until it is launched fits its inbox
        self._early = Channel(f"inbox of child {name!r:.60}", limits.inbox_messages, limits.waiting_bytes)
        self._name = name
        self._parent = parent

    def is_over(self) -> bool:
        """Whether it has ended, or was cancelled before it began."""
        return self.joined.done

    def launched(self, inferlet: Inferlet) -> None:
        """It runs now."""
        self.inferlet = inferlet
        while len(self._early):
            inferlet.deliver(self._early.get().result())

    def failed(self, error: PieError) -> None:
        """It could not be launched, or was not any more."""
        self.messages.close(error)
        self.joined.fail(error)

    def send(self, message: str) -> None:
        """Put a text into its inbox. Raises as `Inferlet.deliver`; of a child that could not be launched, its error."""
        if self.inferlet is not None:
            self.inferlet.deliver(message)
        elif self.joined.done:
            self.joined.result()
        else:
            self._early.put(message)

    # the outbox of the inferlet

    def put(self, event: Event) -> None:
        """See `inferlet.Outbox`. Raises `ResourceError` in the child if its parent does not read."""
        match event:
            case Message(text=text):
                self.messages.put(text)
            case Output():
                self._parent.emit(event)
            case Blob():
                raise ArgumentError("send_blob: a program that was spawned sends its parent texts only; use send")

    def get(self) -> Reading:
        """See `inferlet.Outbox`."""
        raise ArgumentError(f"the events of child {self._name!r:.60} go to inferlet {self._parent.id}, its parent")

    def close(self, why: PieError, last: Ended) -> None:
        """See `inferlet.Outbox`."""
        self.messages.close(why)
        if last.status == "finished":
            self.joined.resolve(MaybeText(last.value))
            return
        kind = _ERRORS.get(last.code, PieError)
        self.joined.fail(kind(f"child {self._name!r:.60} {_HOW[last.status]}: {last.error}"))


_HOW = {"failed": "failed", "stopped": "was stopped", "terminated": "was terminated"}


class Children:
    """Those of one inferlet, by the numbers that it knows them by."""

    def __init__(self, parent: Inferlet, launcher: Launcher) -> None:
        self._parent = parent
        self._launcher = launcher
        self._launches = Work("the launch")
        self._children: dict[int, Child] = {}
        self._last = 0

    def spawn(
        self, name: str, program: Program, arguments: Sequence[str], limits: Limits, sandboxed: bool = False
    ) -> int:
        """A number for a child, which is launched soon. Raises `ResourceError`."""
        self._check_room()
        child = Child(name, self._parent, limits, sandboxed or self._parent.sandboxed)
        family = self._parent.family
        family.live += 1
        child.joined.watch(lambda _: family.left())
        self._last += 1
        self._children[self._last] = child
        self._launches.start(self._launch(child, program, arguments)).watch(lambda done: _note(child, done))
        return self._last

    def find(self, number: int) -> Child:
        """By its number. Raises `HandleError`."""
        try:
            return self._children[number]
        except KeyError:
            raise HandleError(f"{number} is no child of this inferlet, or it has ended and was joined") from None

    def join(self, number: int) -> Ticket:
        """A ticket for its outcome. The child is forgotten when it has ended and its texts are received."""
        child = self.find(number)
        child.was_joined = True
        child.joined.watch(lambda _: self._forget(number))
        return child.joined

    def receive(self, number: int) -> Reading:
        """A ticket for its next text."""
        reading = self.find(number).messages.get()
        self._forget(number)
        return reading

    def cancel(self, number: int) -> None:
        """End it, if it has not ended."""
        self._end(self.find(number), "cancelled by its parent")

    def close(self) -> None:
        """End all: their parent has ended."""
        self._launches.cancel()
        for child in list(self._children.values()):
            self._end(child, "stopped because its parent has ended")

    def _end(self, child: Child, why: str) -> None:
        if child.inferlet is not None:
            self._launcher.stop(child.inferlet, why)
        else:
            child.failed(TerminatedError(f"the child was {why} before it was launched"))

    async def _launch(self, child: Child, program: Program, arguments: Sequence[str]) -> None:
        if child.is_over():
            return  # cancelled already
        inferlet = await self._launcher.launch_child(program, arguments, self._parent, child)
        child.launched(inferlet)
        if child.is_over():
            self._launcher.stop(inferlet, "cancelled by its parent")

    def _check_room(self) -> None:
        parent, limits = self._parent, self._parent.limits
        if parent.depth >= limits.spawn_depth:
            raise ResourceError(
                f"spawn: this program is {parent.depth} below the one that a client launched, the most allowed (limit "
                "`spawn_depth`)"
            )
        if max(parent.family.live, len(self._launches)) >= limits.descendants:
            raise ResourceError(
                f"spawn: {limits.descendants} descendants of one launch are running, the most allowed (limit "
                "`descendants`); join or cancel some first"
            )
        if sum(child.joined.done for child in self._children.values()) >= MOST_ENDED:
            raise ResourceError(f"spawn: {MOST_ENDED} children have ended and were not joined; join them first")

    def _forget(self, number: int) -> None:
        child = self._children.get(number)
        if child is not None and child.was_joined and child.joined.done and not len(child.messages):
            del self._children[number]


def _room(parent: Inferlet) -> tuple[int, int]:
    return parent.limits.mail_messages, parent.limits.mail_bytes


def _note(child: Child, launch: Ticket) -> None:
    """What a launch came to, if it did not succeed."""
    if launch.error is not None and child.inferlet is None:
        assert isinstance(launch.error, PieError)
        child.failed(launch.error)
