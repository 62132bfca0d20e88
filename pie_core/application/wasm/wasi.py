"""The part of WASI 0.2 that inferlets get: output, clocks, sleeping, randomness. No files, no sockets, no environment.

Sleeping suspends the fiber like any other wait. Whatever else a toolchain's library imports is linked, so that the
program starts, and ends it with the function's name if it is called.
"""

from __future__ import annotations

import codecs
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pie_core.application.host import Alarm
from pie_core.application.wasm.linking import HostFunction, HostResource, Interface
from pie_core.application.wasm.values import Failed
from pie_core.errors import ProgramError, ResourceError

T = TypeVar("T")

_MOST = 4096  # resources of WASI that one guest may hold
_ROOM = 1 << 16  # bytes that a guest may write at once
_NANO = 1_000_000_000
_RESOURCES = (
    "pollable",
    "error",
    "input-stream",
    "output-stream",
    "descriptor",
    "directory-entry-stream",
    "terminal-input",
    "terminal-output",
    "network",
    "tcp-socket",
    "udp-socket",
    "incoming-datagram-stream",
    "outgoing-datagram-stream",
    "resolve-address-stream",
)
RESOURCES = frozenset(_RESOURCES)
"""The names of the resource types there are."""


class GuestExit(BaseException):
    """The guest called `exit`."""

    def __init__(self, good: bool) -> None:
        super().__init__("the program exited")
        self.good = good


@dataclass(frozen=True)
class Datetime:
    """`wall-clock.datetime` of the WIT."""

    seconds: int
    nanoseconds: int


class _Stream:
    """Standard output or error: text, however its bytes are cut."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: bytes) -> None:
        self._show(self._decoder.decode(data))


@dataclass(frozen=True)
class _Moment:
    """A pollable: ready from a time of the monotonic clock on (nanoseconds)."""

    at: int

    @property
    def ready(self) -> bool:
        return time.monotonic_ns() >= self.at


@dataclass
class WasiState:
    """What one guest holds of WASI. `show` gets its output, `set_alarm` wakes it after so many seconds."""

    show: Callable[[str], None]
    set_alarm: Callable[[float], Alarm]
    things: dict[int, Any] = field(default_factory=dict)
    last: int = 0
    alarm: Alarm | None = None

    def add(self, thing: Any) -> int:
        """A number for something. Raises `ResourceError` when there are too many."""
        if len(self.things) >= _MOST:
            raise ResourceError(f"the program holds {_MOST} WASI resources, the most allowed; drop some")
        self.last += 1
        self.things[self.last] = thing
        return self.last

    def get(self, number: int, kind: type[T]) -> T:
        """What has a number. Raises `ProgramError` for a resource that the program takes for another one."""
        thing = self.things.get(number)
        if not isinstance(thing, kind):
            raise ProgramError("the program calls a method of WASI on a resource that does not have it")
        return thing

    def wake_after(self, seconds: float) -> None:
        """Wake the guest then, and no more at the time said before."""
        self.close()
        self.alarm = self.set_alarm(seconds)

    def close(self) -> None:
        """Nobody is to be woken any more."""
        if self.alarm is not None:
            self.alarm.cancel()
            self.alarm = None


class _WaitingForMoments:
    """See `linking.Waiting`: until one of the moments has come."""

    def __init__(self, moments: Sequence[_Moment], alone: bool) -> None:
        self._moments = moments
        self._alone = alone
        self.first = min(moments, key=lambda moment: moment.at)

    def ready(self) -> bool:
        return self.first.ready

    def value(self) -> list[int] | None:
        return None if self._alone else [place for place, moment in enumerate(self._moments) if moment.ready]


def wasi_interface(name: str) -> Interface:
    """An interface by name without version: what is offered of it, and every resource type there is."""
    return {**_resources(), **_FUNCTIONS.get(name, {})}


def _resources() -> Mapping[str, HostResource]:
    return {name: HostResource(number, _drop) for number, name in enumerate(_RESOURCES, 1)}


def _drop(guest: Any, number: int) -> None:
    guest.session.wasi.things.pop(number, None)


def _state(guest: Any) -> WasiState:
    state: WasiState = guest.session.wasi
    return state


def _wait(guest: Any, numbers: Sequence[int], alone: bool) -> _WaitingForMoments:
    state = _state(guest)
    moments = [state.get(number, _Moment) for number in numbers]
    if not moments:
        raise ProgramError("wasi:io/poll: nothing is polled, so nothing can ever come")
    waiting = _WaitingForMoments(moments, alone)
    if not waiting.ready():
        state.wake_after(max(0.0, (waiting.first.at - time.monotonic_ns()) / _NANO))
    return waiting


def _write(guest: Any, number: int, data: bytes) -> None:
    _state(guest).get(number, _Stream).write(data)


def _closed(*_: Any) -> Failed:
    return Failed(("closed", None))


def _exit(guest: Any, status: Any) -> None:
    raise GuestExit(not isinstance(status, Failed))


def _output(guest: Any) -> int:
    state = _state(guest)
    return state.add(_Stream(state.show))


def _after(guest: Any, nanoseconds: int) -> int:
    return _state(guest).add(_Moment(time.monotonic_ns() + nanoseconds))


def _now() -> Datetime:
    return Datetime(*divmod(time.time_ns(), _NANO))


def _random_number(*_: Any) -> int:
    return int.from_bytes(os.urandom(8))


def _random_bytes(guest: Any, count: int) -> bytes:
    if count > _ROOM:
        raise ResourceError(f"{count} random bytes were asked for at once; {_ROOM} are allowed")
    return os.urandom(count)


def _plain(**functions: Callable[..., Any]) -> dict[str, HostFunction]:
    return {name.replace("_", "-"): HostFunction(run) for name, run in functions.items()}


def _methods(resource: str, **functions: Callable[..., Any]) -> dict[str, HostFunction]:
    return {f"[method]{resource}.{name}": function for name, function in _plain(**functions).items()}


_FUNCTIONS: dict[str, dict[str, HostFunction]] = {
    "wasi:io/poll": {
        **_methods("pollable", ready=lambda guest, number: _state(guest).get(number, _Moment).ready),
        "[method]pollable.block": HostFunction(lambda guest, number: _wait(guest, [number], True), suspends=True),
        "poll": HostFunction(lambda guest, numbers: _wait(guest, numbers, False), suspends=True),
    },
    "wasi:io/streams": {
        **_methods(
            "output-stream",
            check_write=lambda guest, number: _ROOM,
            write=_write,
            blocking_write_and_flush=_write,
            flush=lambda guest, number: None,
            blocking_flush=lambda guest, number: None,
            subscribe=lambda guest, number: _after(guest, 0),
        ),
        **_methods(
            "input-stream", read=_closed, blocking_read=_closed, subscribe=lambda guest, number: _after(guest, 0)
        ),
    },
    "wasi:io/error": _methods("error", to_debug_string=lambda guest, number: "closed"),
    "wasi:clocks/monotonic-clock": _plain(
        now=lambda guest: time.monotonic_ns(),
        resolution=lambda guest: 1,
        subscribe_duration=_after,
        subscribe_instant=lambda guest, at: _state(guest).add(_Moment(at)),
    ),
    "wasi:clocks/wall-clock": _plain(now=lambda guest: _now(), resolution=lambda guest: Datetime(0, 1)),
    "wasi:random/random": _plain(get_random_bytes=_random_bytes, get_random_u64=_random_number),
    "wasi:random/insecure": _plain(get_insecure_random_bytes=_random_bytes, get_insecure_random_u64=_random_number),
    "wasi:random/insecure-seed": _plain(insecure_seed=lambda guest: (_random_number(), _random_number())),
    "wasi:cli/environment": _plain(
        get_environment=lambda guest: [], get_arguments=lambda guest: [], initial_cwd=lambda guest: None
    ),
    "wasi:cli/exit": _plain(exit=_exit),
    "wasi:cli/stdin": _plain(get_stdin=lambda guest: _state(guest).add(None)),
    "wasi:cli/stdout": _plain(get_stdout=_output),
    "wasi:cli/stderr": _plain(get_stderr=_output),
    "wasi:cli/terminal-stdin": _plain(get_terminal_stdin=lambda guest: None),
    "wasi:cli/terminal-stdout": _plain(get_terminal_stdout=lambda guest: None),
    "wasi:cli/terminal-stderr": _plain(get_terminal_stderr=lambda guest: None),
    "wasi:filesystem/preopens": _plain(get_directories=lambda guest: []),
}
