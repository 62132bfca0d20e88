"""Other programs, started by this one. Its manifest has to say `spawn = true`, and the server has to allow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inferlet.errors import ArgumentError
from inferlet.future import Future
from inferlet.host import host


class Child:
    """A program that this one has started. It ends with this one at the latest."""

    def __init__(self, program: str, number: int) -> None:
        self.program = program
        self._number = number
        self._joined: Future[str | None] | None = None

    def __repr__(self) -> str:
        return f"<Child {self.program!r}>"

    def join(self) -> Future[str | None]:
        """Wait until it has ended: what it returned.

        Raises `ProgramError` with its traceback if it failed or could not be started, `TerminatedError` if it was
        stopped, `ResourceError` if a limit ended it. May be awaited again.
        """
        if self._joined is None:
            self._joined = Future(host(), host().call("join_child", None, None, (self._number,)), _text)
        return self._joined

    def send(self, msg: str) -> None:
        """Send it a text, for its `receive()`."""
        host().call("send_to_child", None, None, (self._number, msg))

    def receive(self) -> Future[str]:
        """The next text that it sends. Raises its error, or `TerminatedError`, when it has ended and all are read."""
        return Future(host(), host().call("receive_from_child", None, None, (self._number,)), str)

    def cancel(self) -> None:
        """End it, and what it has started. Idempotent."""
        if self._joined is None or not self._joined.done:
            host().call("cancel_child", None, None, (self._number,))


def spawn(
    program: str,
    args: Sequence[str] = (),
    *,
    source: str | None = None,
    limits: Mapping[str, float] | None = None,
) -> Child:
    """Start another program, with these arguments.

    program: the name of an installed program, or this program's own, to run it once more; with `source`, the text of a
    Python program, any name for it. The child is the same user's, may do no more than this program, and only what its
    own manifest names; what it prints, this program's client sees. limits: by name (docs/operations.md), each at most
    this program's own. With one of `cpu_s`, `memory_bytes` and `table_elements` the child runs in the sandbox, which
    keeps them, also if this program is trusted.
    Raises `CapabilityError` if this program may not start others, `ResourceError` if there are too many or it is too
    deep, `ProgramError` if there is no program of this name. What is wrong with the program itself, `join` tells.
    """
    if isinstance(args, str):
        raise ArgumentError(f"spawn: args: expected a list of texts, got {args!r:.60}")
    lower = [f"{name}={value}" for name, value in (limits or {}).items()]
    return Child(program, host().call("spawn", None, None, (program, list(args), source, lower)))


def _text(record: Any) -> str | None:
    value: str | None = record.value
    return value
