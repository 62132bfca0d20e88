"""Calls: time, and other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pie_core.application.calls.base import MaybeText, RuntimeCall
from pie_core.application.limits import KEPT_BY_THE_SANDBOX, tighten
from pie_core.application.program import Program, read_program
from pie_core.control.ticket import Ticket
from pie_core.errors import ArgumentError, ProgramError, nearest
from pie_core.schema import U32

if TYPE_CHECKING:
    from pie_core.application.host import Host

LONGEST_NAME = 512  # bytes, of a program


class Sleep(RuntimeCall):
    """Suspend for `seconds`; other tasks of the program go on.

    ArgumentError: negative, or not a number.
    """

    future = True
    seconds: float

    def apply(self, host: Host, model: str | None, queue: int | None) -> Ticket:
        if not self.seconds >= 0:
            raise ArgumentError(f"sleep: {self.seconds} seconds cannot be slept")
        return host.sleep(self.seconds)


class Spawn(RuntimeCall):
    """Start another program as a child: an inferlet of the same user that ends with this one at the latest.

    program: this program's own name, to run it once more, or that of an installed one; with `source`, any name for that
    Python program. A child has no more capabilities than its parent, and only those its manifest names. What it prints
    goes to the parent's client. limits: `NAME=VALUE`, each at most the parent's; a child whose computing time
    (`cpu_s`), memory (`memory_bytes`) or tables are limited so runs in the sandbox, which keeps these, even if its
    parent is trusted. What is wrong with the program itself is an error of `join_child`.

    ArgumentError: a name that is empty or over 512 bytes, arguments that are no texts, a limit that is none or above
        this program's own.
    ProgramError: no program of this name.
    CapabilityError: not allowed to spawn.
    ResourceError: too deep, too many running, or 64 ended and not joined.
    """

    returns = U32
    program: str
    args: list[str] = []
    source: str | None = None
    limits: list[str] = []

    def apply(self, host: Host, model: str | None, queue: int | None) -> int:
        host.inferlet.grant.check_spawn()
        program = self._find(host)
        limits = tighten(host.inferlet.limits, self.limits, "spawn")
        sandboxed = any(text.partition("=")[0] in KEPT_BY_THE_SANDBOX for text in self.limits)
        return host.children.spawn(self.program, program, self.args, limits, sandboxed)

    def _find(self, host: Host) -> Program:
        name, own, installed = self.program, host.inferlet.program, host.services.programs
        if not 0 < len(name.encode()) <= LONGEST_NAME:
            raise ArgumentError(f"spawn: a program's name has 1 to {LONGEST_NAME} bytes, not {len(name.encode())}")
        if self.source is not None:
            return Program(name, self.source, name)
        if name == own.name:
            return own
        if name in installed:
            return read_program(installed[name])
        raise ProgramError(f"spawn: no program is named {name!r}{nearest(name, {own.name, *installed})}")


class JoinChild(RuntimeCall):
    """Wait until a child has ended: what it returned. If it failed, was stopped or terminated: that error.

    An outcome may be asked for until the child's texts are received as well; then its number is free.

    HandleError: no child of this number, or it was joined and has nothing left to say.
    """

    future = True
    returns = MaybeText
    child: U32

    def apply(self, host: Host, model: str | None, queue: int | None) -> Ticket:
        return host.children.join(self.child)


class SendToChild(RuntimeCall):
    """Send a text to a child, for its `receive`.

    HandleError: no child of this number.
    ArgumentError: not a text, or over `message_bytes`.
    ResourceError: too many that it has not received.
    TerminatedError: it has ended.
    """

    child: U32
    msg: str

    def apply(self, host: Host, model: str | None, queue: int | None) -> None:
        host.inferlet.check_size(self.msg)
        host.children.find(self.child).send(self.msg)


class ReceiveFromChild(RuntimeCall):
    """The next text that a child has sent.

    HandleError: no child of this number, or it was joined and has nothing left to say.
    TerminatedError: it has sent its last text. If it could not start, that error.
    """

    future = True
    returns = str
    child: U32

    def apply(self, host: Host, model: str | None, queue: int | None) -> Ticket:
        return host.children.receive(self.child)


class CancelChild(RuntimeCall):
    """End a child, and its children. If it has ended already, nothing happens.

    HandleError: no child of this number, or it was joined and has nothing left to say.
    """

    child: U32

    def apply(self, host: Host, model: str | None, queue: int | None) -> None:
        host.children.cancel(self.child)


CALLS = (Sleep, Spawn, JoinChild, SendToChild, ReceiveFromChild, CancelChild)
