"""From C values to Python ones; see `values` for what becomes what."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ctypes import byref, c_void_p
from typing import Any

from wasmtime.component import _types as wit

from pie_core.application.wasm import ffi
from pie_core.application.wasm.ffi import ENTRY_SIZE, VALUE_SIZE
from pie_core.application.wasm.values import LONGEST_TEXT, MEMORY, NUMBERS, SMALL, Failed, Record, read_pair, read_u64
from pie_core.errors import ArgumentError

Lift = Callable[[int, int], Any]
"""(context, address) -> value."""


def lift_from(kind: Any) -> Lift:
    """A reader for values of a reflected type. Raises `TypeError` for types that no call of ours carries."""
    number = NUMBERS.get(type(kind))
    if number is not None:
        read = struct.Struct(f"<{number[1]}").unpack_from
        return lambda context, at: read(MEMORY, at + 8)[0]
    match kind:
        case wit.String() | wit.EnumType():
            return _lift_text
        case wit.ListType():
            element = NUMBERS.get(type(kind.element))
            return _lift_list(kind.element) if element is None else _lift_numbers(element[1])
        case wit.TupleType():
            parts = [(lift_from(part), place * VALUE_SIZE) for place, part in enumerate(kind.elements)]
            return lambda context, at: tuple([lift(context, read_u64(MEMORY, at + 16)[0] + by) for lift, by in parts])
        case wit.RecordType():
            return _lift_record(kind)
        case wit.OptionType():
            lift = lift_from(kind.payload)
            return lambda context, at: lift(context, there) if (there := read_u64(MEMORY, at + 8)[0]) else None
        case wit.ResultType():
            return _lift_result(kind)
        case wit.OwnType() | wit.BorrowType():
            return _lift_resource
    raise TypeError(f"a guest cannot pass values of type {type(kind).__name__}")


def _lift_text(context: int, at: int) -> str:
    size, data = read_pair(MEMORY, at + 8)
    if size > LONGEST_TEXT:  # wasmtime has two copies of it already; two more would follow
        raise ArgumentError(
            f"a call carries a text of {size} bytes, over the limit of {LONGEST_TEXT}; send it in parts"
        )
    return str(MEMORY[data : data + size], "utf-8")


def _lift_numbers(code: str) -> Lift:
    width = struct.calcsize(f"<{code}")
    one = f"8x{code}{24 - width}x"
    small: dict[int, Callable[..., tuple[Any, ...]]] = {}
    is_bytes = code == "B"

    def lift(context: int, at: int) -> Any:
        size, data = read_pair(MEMORY, at + 8)
        if size == 0:
            return b"" if is_bytes else []
        if is_bytes:
            return bytes(MEMORY[data + 8 : data + VALUE_SIZE * size : VALUE_SIZE])
        if size <= SMALL:
            read = small.get(size)
            if read is None:
                read = small[size] = struct.Struct("<" + one * size).unpack_from
            return list(read(MEMORY, data))
        raw = MEMORY[data : data + VALUE_SIZE * size].cast(code)  # type: ignore[call-overload]
        return raw[8 // width :: VALUE_SIZE // width].tolist()

    return lift


def _lift_list(element: Any) -> Lift:
    lift_one = lift_from(element)

    def lift(context: int, at: int) -> list[Any]:
        size, data = read_pair(MEMORY, at + 8)
        return [lift_one(context, data + place * VALUE_SIZE) for place in range(size)]

    return lift


def _lift_record(kind: Any) -> Lift:
    fields = [
        (name.replace("-", "_"), lift_from(field), place * ENTRY_SIZE + 16)
        for place, (name, field) in enumerate(kind.fields)
    ]

    def lift(context: int, at: int) -> Record:
        data = read_u64(MEMORY, at + 16)[0]
        return Record({name: lift_one(context, data + by) for name, lift_one, by in fields})

    return lift


def _lift_result(kind: Any) -> Lift:
    good = None if kind.ok is None else lift_from(kind.ok)
    bad = None if kind.err is None else lift_from(kind.err)

    def lift(context: int, at: int) -> Any:
        is_good, there = MEMORY[at + 8], read_u64(MEMORY, at + 16)[0]
        side = good if is_good else bad
        value = None if side is None else side(context, there)
        return value if is_good else Failed(value)

    return lift


def _lift_resource(context: int, at: int) -> int:
    found = c_void_p()
    ffi.take_error(ffi.resource_to_host(context, read_u64(MEMORY, at + 8)[0], byref(found)))
    number = int(ffi.resource_number(found))
    ffi.delete_resource(found)
    return number
