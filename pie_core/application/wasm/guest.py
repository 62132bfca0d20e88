"""One instance of a component: its store, its fiber, what it is suspended for, how much it has used."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import addressof, c_void_p
from dataclasses import dataclass
from typing import Any

import wasmtime
from wasmtime import _ffi
from wasmtime.component import Instance

from pie_core.application.accounts import Account
from pie_core.application.wasm import ffi
from pie_core.application.wasm.linking import LinkedComponent, Suspension

_SLICE_TICKS = 1  # epochs after which a guest that goes on computing gives way
_INSTANCES = 64  # of core modules; a Python program has 3, and 12 if its modules could not be merged
_TABLES = 8  # each of `table_elements`; a Python program has 2
_MEMORIES = 4  # each of `memory_bytes`; of what componentize-qjs makes, all but one are small


@dataclass(frozen=True)
class GuestLimits:
    """What one guest may use."""

    memory_bytes: int
    table_elements: int
    cpu_s: float  # seconds of computing, from start to end


class Guest:
    """Operations (`instantiate`, `call_run`) start a fiber; `poll` runs it until it suspends, gives way or ends."""

    def __init__(self, engine: wasmtime.Engine, linked: LinkedComponent, limits: GuestLimits, account: Account) -> None:
        self.limits = limits
        self.account = account  # of its user
        self.suspension: Suspension | None = None
        self.resumed: Suspension | None = None  # kept for wasmtime's last look at it
        self.fault: BaseException | None = None  # what a host function raised that ended the guest
        self.cpu_s = 0.0
        self.session: Any = None  # set by the tier; what host functions work on
        self._linked = linked
        self._store = wasmtime.Store(engine)
        self._store.set_limits(
            memory_size=limits.memory_bytes,
            table_elements=limits.table_elements,
            instances=_INSTANCES,
            tables=_TABLES,
            memories=_MEMORIES,
        )
        self.context = ffi.address_of(self._store._context())
        ffi.yield_every(self.context, _SLICE_TICKS)
        self._future: int | None = None
        self._error = c_void_p()
        self._kept: list[Any] = []  # what the operation in progress points to
        self._finish: Callable[[], Any] = lambda: None

    def instantiate(self) -> None:
        """Start to instantiate."""
        instance = _ffi.wasmtime_component_instance_t()
        self._kept = [instance]
        self._future = ffi.start_instantiate(
            ffi.address_of(self._linked.linker.ptr()),
            self.context,
            ffi.address_of(self._linked.component.ptr()),
            addressof(instance),
            addressof(self._error),
        )
        self._finish = lambda: Instance._from_raw(instance)

    def call(self, instance: Instance, export: str, read: Callable[[int, int], Any]) -> None:
        """Start to call an exported function without arguments; `read` lifts its result."""
        function = instance.get_func(self._store, export)
        assert function is not None
        results = (ffi.VALUE * 1)()
        self._kept = [function, results]
        self._future = ffi.start_call(
            addressof(function._func), self.context, None, 0, addressof(results), 1, addressof(self._error)
        )

        def finish() -> Any:
            try:
                return read(self.context, addressof(results))
            finally:
                ffi.delete_value(addressof(results))

        self._finish = finish

    def poll(self) -> bool:
        """Run on; True when the operation has ended. Only while it is not suspended."""
        ffi.set_deadline(self.context, _SLICE_TICKS + 1)  # a slice from now, however long it was suspended
        return bool(ffi.poll(self._future))

    def result(self) -> Any:
        """Of an ended operation. Raises `fault`, or `WasmtimeError`."""
        ffi.delete_future(self._future)
        self._future = None
        address, self._error.value = self._error.value, None
        try:
            ffi.take_error(address)
        except wasmtime.WasmtimeError as error:
            if self.fault is not None:
                raise self.fault from error
            raise
        return self._finish()

    def close(self) -> None:
        """Drop the fiber, wherever it stands, and the store. Idempotent."""
        if self._future is not None:
            ffi.delete_future(self._future)
            self._future = None
        self.suspension = None
        self._kept = []
        self._store.close()
