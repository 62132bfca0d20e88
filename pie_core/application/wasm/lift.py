"""From C values to Python ones; see `values` for what becomes what."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ctypes import byref, c_void_p, string_at
from typing import Any

from wasmtime.component import _types as wit

from pie_core.application.wasm import ffi
from pie_core.application.wasm.ffi import ENTRY_SIZE, VALUE_SIZE
from pie_core.application.wasm.values import NUMBERS, PAIR, SMALL, Failed, Record, u8, u64

Lift = Callable[[int, int], Any]
"""(context, address) -> value."""


def lift_from(kind: Any) -> Lift:
    """A reader for values of a reflected type. Raises `TypeError` for types that no call of ours carries."""
    number = NUMBERS.get(type(kind))
    if number is not None:
        read = number[1].from_address
        return lambda context, at: read(at + 8).value
    match kind:
        case wit.String() | wit.EnumType():
            return _lift_text
        case wit.ListType():
            element = NUMBERS.get(type(kind.element))
            return _lift_list(kind.element) if element is None else _lift_numbers(element[2])
        case wit.TupleType():
            parts = [(lift_from(part), place * VALUE_SIZE) for place, part in enumerate(kind.elements)]
            return lambda context, at: tuple([lift(context, u64(at + 16).value + by) for lift, by in parts])
        case wit.RecordType():
            return _lift_record(kind)
        case wit.OptionType():
            lift = lift_from(kind.payload)
            return lambda context, at: lift(context, there) if (there := u64(at + 8).value) else None
        case wit.ResultType():
            return _lift_result(kind)
        case wit.OwnType() | wit.BorrowType():
            return _lift_resource
    raise TypeError(f"a guest cannot pass values of type {type(kind).__name__}")


def _lift_text(context: int, at: int) -> str:
    size, data = PAIR.unpack(string_at(at + 8, 16))
    return string_at(data, size).decode()


def _lift_numbers(code: str) -> Lift:
    width = struct.calcsize(f"<{code}")
    one = f"8x{code}{24 - width}x"
    small: dict[int, struct.Struct] = {}
    is_bytes = code == "B"

    def lift(context: int, at: int) -> Any:
        size, data = PAIR.unpack(string_at(at + 8, 16))
        if size == 0:
            return b"" if is_bytes else []
        raw = string_at(data, VALUE_SIZE * size)
        if is_bytes:
            return raw[8::VALUE_SIZE]
        if size <= SMALL:
            layout = small.get(size)
            if layout is None:
                layout = small[size] = struct.Struct("<" + one * size)
            return list(layout.unpack(raw))
        return memoryview(raw).cast(code)[8 // width :: VALUE_SIZE // width].tolist()  # type: ignore[call-overload]

    return lift


def _lift_list(element: Any) -> Lift:
    lift_one = lift_from(element)

    def lift(context: int, at: int) -> list[Any]:
        size, data = PAIR.unpack(string_at(at + 8, 16))
        return [lift_one(context, data + place * VALUE_SIZE) for place in range(size)]

    return lift


def _lift_record(kind: Any) -> Lift:
    fields = [
        (name.replace("-", "_"), lift_from(field), place * ENTRY_SIZE + 16)
        for place, (name, field) in enumerate(kind.fields)
    ]

    def lift(context: int, at: int) -> Record:
        data = u64(at + 16).value
        return Record({name: lift_one(context, data + by) for name, lift_one, by in fields})

    return lift


def _lift_result(kind: Any) -> Lift:
    good = None if kind.ok is None else lift_from(kind.ok)
    bad = None if kind.err is None else lift_from(kind.err)

    def lift(context: int, at: int) -> Any:
        is_good, there = u8(at + 8).value, u64(at + 16).value
        side = good if is_good else bad
        value = None if side is None else side(context, there)
        return value if is_good else Failed(value)

    return lift


def _lift_resource(context: int, at: int) -> int:
    found = c_void_p()
    ffi.take_error(ffi.resource_to_host(context, u64(at + 8).value, byref(found)))
    number = int(ffi.resource_number(found))
    ffi.delete_resource(found)
    return number
