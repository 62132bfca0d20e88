"""Linking a component to the host: types reflected once, a trampoline for each imported function.

A host function gets the guest that calls and the lifted arguments. A plain one returns its value; a suspending one
returns a `Waiting`. `PieError`, of a function or of what it waited for, is the error side of a `result<_, error>`, and
ends the guest where the function's type has none; any other exception is a bug or a trap that is wanted, and ends the
guest.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from ctypes import addressof, c_char, c_uint64, memmove
from dataclasses import dataclass
from typing import Any, Protocol

import wasmtime
from wasmtime.component import Component, FuncType, Linker, RecordType, ResourceType, ResultType

from pie_core.application.wasm import ffi
from pie_core.application.wasm.ffi import VALUE_SIZE
from pie_core.application.wasm.lift import lift_from
from pie_core.application.wasm.lower import Lower, lower_to
from pie_core.application.wasm.values import Failed
from pie_core.errors import PieError, ProgramError

_CONTINUATION = struct.Struct("<QQQ")  # callback, its argument, finalizer


class Waiting(Protocol):
    """What a guest is suspended for."""

    def ready(self) -> bool:
        """Whether it can go on."""
        ...

    def value(self) -> Any:
        """What the call returns. Only when ready. Raises `PieError`."""
        ...


class _Refused:
    """A call that failed before there was anything to wait for."""

    def __init__(self, error: PieError) -> None:
        self._error = error

    def ready(self) -> bool:
        return True

    def value(self) -> Any:
        raise self._error


class Suspension:
    """A suspended call: where its result goes, and the flag that wasmtime looks at."""

    __slots__ = ("_context", "_flag", "_lower", "_results", "_tells_errors", "waiting")

    def __init__(self, waiting: Waiting, lower: Lower | None, tells_errors: bool, context: int, results: int) -> None:
        self.waiting = waiting
        self._lower = lower
        self._tells_errors = tells_errors
        self._context = context
        self._results = results
        self._flag = (c_char * 2)()

    @property
    def address(self) -> int:
        """Of the flag."""
        return addressof(self._flag)

    def resume(self) -> None:
        """Write the result; the next poll goes on in the guest."""
        try:
            value = self.waiting.value()
        except PieError as error:
            if not self._tells_errors:
                raise
            value = _failed(error)
        if self._lower is not None:
            self._lower(self._context, value, self._results)
        self._flag[0] = b"\1"


class Caller(Protocol):
    """What linking must know of a guest."""

    suspension: Suspension | None
    resumed: Suspension | None
    fault: BaseException | None


class Current(Protocol):
    """Who runs now. Guests run one at a time."""

    @property
    def guest(self) -> Any:
        """The guest whose fiber is being polled."""
        ...


@dataclass(frozen=True)
class HostFunction:
    """`run(guest, *arguments)`; `suspends`: it returns a `Waiting` instead of its value."""

    run: Callable[..., Any]
    suspends: bool = False


@dataclass(frozen=True)
class HostResource:
    """A resource type of ours: its number, and what to do when the guest lets one go (`dropped(guest, number)`)."""

    number: int
    dropped: Callable[[Any, int], None]


Interface = Mapping[str, HostFunction | HostResource]


@dataclass(frozen=True)
class ErrorRecord:
    """`types.error` of the WIT."""

    code: str
    message: str


class LinkedComponent:
    """A component with everything it imports. Instantiated as often as there are guests.

    `interfaces` has an entry for each import that is an interface, by the import's own name (with version). Functions
    that an import wants and the entry lacks trap with their name when they are called.
    """

    def __init__(
        self,
        engine: wasmtime.Engine,
        component: Component,
        interfaces: Mapping[str, Interface],
        current: Current,
    ) -> None:
        self.component = component
        self.linker = Linker(engine)
        self._current = current
        self._kept: list[Any] = []  # callbacks that wasmtime calls
        self._numbers: list[tuple[ResourceType, int]] = []
        imports: Mapping[str, Any] = component.type.imports(engine)
        reflected = {
            name: {item: kind.ty for item, kind in imported.ty.exports(engine).items()}
            for name, imported in imports.items()
            if name in interfaces
        }
        for name, items in reflected.items():
            self._number_resources(items, interfaces[name])
        with self.linker.root() as root:
            for name, items in reflected.items():
                with root.add_instance(name) as instance:
                    self._add(name, ffi.address_of(instance.ptr()), items, interfaces[name])

    def _number_resources(self, items: Mapping[str, Any], interface: Interface) -> None:
        for item, kind in items.items():
            entry = interface.get(item)
            if isinstance(kind, ResourceType) and isinstance(entry, HostResource):
                self._numbers.append((kind, entry.number))

    def _number_of(self, kind: ResourceType) -> int:
        return next(number for known, number in self._numbers if known == kind)

    def _add(self, name: str, instance: int, items: Mapping[str, Any], interface: Interface) -> None:
        for item, kind in items.items():
            entry, raw = interface.get(item), item.encode()
            if isinstance(kind, ResourceType):
                assert isinstance(entry, HostResource), f"{name}#{item} is a resource that the host does not have"
                destructor = self._keep(ffi.DESTRUCTOR(self._destructor(entry)))
                host_type = self._keep(ResourceType.host(entry.number))
                address = ffi.address_of(host_type.ptr())
                ffi.take_error(ffi.add_resource(instance, raw, len(raw), address, destructor, None, None))
            elif isinstance(kind, FuncType):
                if not isinstance(entry, HostFunction):
                    callback = self._keep(ffi.SYNC_CALLBACK(self._refusal(f"{name}#{item}")))
                    ffi.take_error(ffi.add_function(instance, raw, len(raw), callback, None, None))
                elif entry.suspends:
                    callback = self._keep(ffi.ASYNC_CALLBACK(self._suspending(kind, entry.run)))
                    ffi.take_error(ffi.add_suspending(instance, raw, len(raw), callback, None, None))
                else:
                    callback = self._keep(ffi.SYNC_CALLBACK(self._plain(kind, entry.run)))
                    ffi.take_error(ffi.add_function(instance, raw, len(raw), callback, None, None))

    def _keep(self, thing: Any) -> Any:
        self._kept.append(thing)
        return thing

    def _converters(self, kind: FuncType) -> tuple[list[tuple[Any, int]], Lower | None]:
        lifts = [(lift_from(parameter), place * VALUE_SIZE) for place, (_, parameter) in enumerate(kind.params)]
        return lifts, None if kind.result is None else lower_to(kind.result, self._number_of)

    def _plain(self, kind: FuncType, run: Callable[..., Any]) -> Callable[..., int]:
        lifts, lower = self._converters(kind)
        current = self._current
        tells_errors = _tells_errors(kind)

        def callback(_: Any, context: int, __: Any, arguments: int, ___: int, results: int, ____: int) -> int:
            guest = current.guest
            try:
                try:
                    value = run(guest, *[lift(context, arguments + by) for lift, by in lifts])
                except PieError as error:
                    if not tells_errors:
                        raise
                    value = _failed(error)
                if lower is not None:
                    lower(context, value, results)
            except BaseException as fault:
                return _trap(guest, fault)
            return 0

        return callback

    def _suspending(self, kind: FuncType, run: Callable[..., Waiting]) -> Callable[..., None]:
        lifts, lower = self._converters(kind)
        current = self._current
        tells_errors = _tells_errors(kind)

        def callback(
            _: Any,
            context: int,
            __: Any,
            arguments: int,
            ___: int,
            results: int,
            ____: int,
            fault_at: int,
            continuation: int,
        ) -> None:
            guest = current.guest
            try:
                try:
                    waiting = run(guest, *[lift(context, arguments + by) for lift, by in lifts])
                except PieError as error:
                    if not tells_errors:
                        raise
                    waiting = _Refused(error)
                suspension = Suspension(waiting, lower, tells_errors, context, results)
                memmove(continuation, _CONTINUATION.pack(ffi.CONTINUE_WHEN, suspension.address, 0), _CONTINUATION.size)
                if waiting.ready():
                    suspension.resume()
                    guest.resumed = suspension  # wasmtime is yet to look at its flag
                else:
                    guest.suspension = suspension
            except BaseException as fault:
                c_uint64.from_address(fault_at).value = _trap(guest, fault)

        return callback

    def _refusal(self, what: str) -> Callable[..., int]:
        def callback(*_: Any) -> int:
            return _trap(
                self._current.guest, ProgramError(f"the program called {what}, which is not offered to programs")
            )

        return callback

    def _destructor(self, resource: HostResource) -> Callable[..., int]:
        def callback(_: Any, __: Any, number: int) -> int:
            guest = self._current.guest
            try:
                resource.dropped(guest, number)
            except BaseException as fault:
                return _trap(guest, fault)
            return 0

        return callback


def _failed(error: PieError) -> Failed:
    return Failed(ErrorRecord(error.code, str(error)))


def _tells_errors(kind: FuncType) -> bool:
    """Whether a function returns a `result<_, error>`."""
    result = kind.result
    return isinstance(result, ResultType) and isinstance(result.err, RecordType) and len(result.err.fields) == 2


def _trap(guest: Caller, fault: BaseException) -> int:
    """End the guest: wasmtime gets an error, `guest.fault` keeps the reason."""
    guest.fault = fault
    address: int = ffi.new_error(repr(fault).encode(errors="replace").replace(b"\0", b""))
    return address


def bind_result(component: Component, engine: wasmtime.Engine, export: str) -> Callable[[int, int], Any]:
    """A reader for the result of an exported function."""
    kind = component.type.exports(engine)[export].ty
    assert isinstance(kind, FuncType)
    return lift_from(kind.result)
