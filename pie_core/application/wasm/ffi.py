"""The part of wasmtime's C API that wasmtime-py ships bindings for but no classes: fibers, and values by address.

Everything semi-private about wasmtime-py is here and in `engine.py`, for the version that `engine.py` checks. Functions
that are called for every host call keep the GIL (PYFUNCTYPE: cheaper, and they never run a guest); those that run a
guest release it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, PYFUNCTYPE, c_bool, c_char_p, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any

from wasmtime import WasmtimeError, _ffi

VALUE = _ffi.wasmtime_component_val_t
VALUE_SIZE = 32  # bytes: kind (1, padded to 8), then a union of 24
ENTRY_SIZE = 16 + VALUE_SIZE  # of a record: name (length, address), value
POINTER_SIZE = 8

_KIND_NAMES = """
BOOL S8 U8 S16 U16 S32 U32 S64 U64 F32 F64 CHAR STRING LIST RECORD TUPLE VARIANT ENUM OPTION RESULT FLAGS RESOURCE
"""
KINDS = {name: int(getattr(_ffi, f"WASMTIME_COMPONENT_{name}").value) for name in _KIND_NAMES.split()}

SYNC_CALLBACK = CFUNCTYPE(c_size_t, c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t)
"""(data, context, type, arguments, count, results, count) -> error or 0."""
ASYNC_CALLBACK = CFUNCTYPE(
    None, c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p, c_void_p
)
"""The same, with where to put an error and a continuation instead of the result."""
DESTRUCTOR = CFUNCTYPE(c_size_t, c_void_p, c_void_p, c_uint32)


def _quick(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    return PYFUNCTYPE(result, *arguments)((name, _ffi.dll))


def _slow(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    return CFUNCTYPE(result, *arguments)((name, _ffi.dll))


new_list = _quick("wasmtime_component_vallist_new_uninit", None, c_void_p, c_size_t)
new_record = _quick("wasmtime_component_valrecord_new_uninit", None, c_void_p, c_size_t)
new_bytes = _quick("wasm_byte_vec_new", None, c_void_p, c_size_t, c_char_p)
new_value = _quick("wasmtime_component_val_new", c_void_p, c_void_p)
delete_value = _quick("wasmtime_component_val_delete", None, c_void_p)
set_deadline = _quick("wasmtime_context_set_epoch_deadline", None, c_void_p, c_uint64)
new_error = _quick("wasmtime_error_new", c_void_p, c_char_p)
resource_to_host = _quick("wasmtime_component_resource_any_to_host", c_void_p, c_void_p, c_void_p, c_void_p)
resource_from_host = _quick("wasmtime_component_resource_host_to_any", c_void_p, c_void_p, c_void_p, c_void_p)
new_resource = _quick("wasmtime_component_resource_host_new", c_void_p, c_bool, c_uint32, c_uint32)
resource_number = _quick("wasmtime_component_resource_host_rep", c_uint32, c_void_p)
delete_resource = _quick("wasmtime_component_resource_host_delete", None, c_void_p)

add_function = _slow(
    "wasmtime_component_linker_instance_add_func",
    c_void_p,
    *(c_void_p, c_char_p, c_size_t, SYNC_CALLBACK, c_void_p, c_void_p),
)
add_suspending = _slow(
    "wasmtime_component_linker_instance_add_func_async",
    c_void_p,
    *(c_void_p, c_char_p, c_size_t, ASYNC_CALLBACK, c_void_p, c_void_p),
)
add_resource = _slow(
    "wasmtime_component_linker_instance_add_resource",
    c_void_p,
    *(c_void_p, c_char_p, c_size_t, c_void_p, DESTRUCTOR, c_void_p, c_void_p),
)
start_instantiate = _slow(
    "wasmtime_component_linker_instantiate_async", c_void_p, *(c_void_p, c_void_p, c_void_p, c_void_p, c_void_p)
)
start_call = _slow(
    "wasmtime_component_func_call_async",
    c_void_p,
    *(c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p),
)
poll = _slow("wasmtime_call_future_poll", c_bool, c_void_p)
delete_future = _slow("wasmtime_call_future_delete", None, c_void_p)
yield_every = _slow("wasmtime_context_epoch_deadline_async_yield_and_update", None, c_void_p, c_uint64)


def _string_length() -> int:
    address = ctypes.cast(ctypes.CDLL(None).strlen, c_void_p).value
    assert address is not None
    return address


CONTINUE_WHEN = _string_length()
"""A C function that tells whether the byte at an address is not 0 yet: `strlen` on a flag of two bytes. With it a
suspended guest is asked without entering Python."""


def address_of(pointer: Any) -> int:
    """The address behind one of wasmtime-py's pointers."""
    address = ctypes.cast(pointer, c_void_p).value
    assert address is not None
    return address


def take_error(address: int | None) -> None:
    """Raise what is at the address, if anything is."""
    if address:
        raise WasmtimeError._from_ptr(ctypes.cast(address, POINTER(_ffi.wasmtime_error_t)))
