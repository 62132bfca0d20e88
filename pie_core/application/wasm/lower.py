"""From Python values to C ones; see `values` for what becomes what."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Sequence
from ctypes import addressof, byref, c_void_p, memset
from typing import Any

from wasmtime.component import ResourceType
from wasmtime.component import _types as wit

from pie_core.application.wasm import ffi
from pie_core.application.wasm.ffi import ENTRY_SIZE, KINDS, VALUE, VALUE_SIZE
from pie_core.application.wasm.values import MEMORY, NUMBERS, SMALL, Failed, read_u64, write_pair, write_u64

Lower = Callable[[int, Any, int], None]
"""(context, value, address)."""
_write_result = struct.Struct("<QQQ").pack_into
ResourceNumber = Callable[[ResourceType], int]


def lower_to(kind: Any, number_of: ResourceNumber) -> Lower:
    """A writer for values of a reflected type; `number_of` tells a resource type's number on the host."""
    number = NUMBERS.get(type(kind))
    if number is not None:
        return _lower_number(*number)
    match kind:
        case wit.String() | wit.EnumType():
            return _lower_text(KINDS["STRING" if isinstance(kind, wit.String) else "ENUM"])
        case wit.ListType():
            element = NUMBERS.get(type(kind.element))
            if element is not None:
                return _lower_numbers(*element)
            return _lower_list(lower_to(kind.element, number_of))
        case wit.TupleType():
            return _lower_tuple([lower_to(part, number_of) for part in kind.elements])
        case wit.RecordType():
            fields = [(name, lower_to(field, number_of)) for name, field in kind.fields]
            return _lower_record(fields)
        case wit.OptionType():
            return _lower_option(lower_to(kind.payload, number_of))
        case wit.ResultType():
            good = None if kind.ok is None else lower_to(kind.ok, number_of)
            bad = None if kind.err is None else lower_to(kind.err, number_of)
            return _lower_result(good, bad)
        case wit.VariantType():
            cases = {name: None if part is None else lower_to(part, number_of) for name, part in kind.cases}
            return _lower_variant(cases)
        case wit.OwnType():
            return _lower_resource(number_of(kind.ty))
    raise TypeError(f"the host cannot pass values of type {type(kind).__name__}")


def _lower_number(kind: int, code: str) -> Lower:
    write = struct.Struct(f"<Q{code}").pack_into

    def lower(context: int, value: Any, at: int) -> None:
        write(MEMORY, at, kind, value)

    return lower


def _lower_text(kind: int) -> Lower:
    def lower(context: int, value: str, at: int) -> None:
        raw = value.encode()
        ffi.new_bytes(at + 8, len(raw), raw)
        write_u64(MEMORY, at, kind)

    return lower


def _lower_numbers(kind: int, code: str) -> Lower:
    width = struct.calcsize(f"<{code}")
    one = f"Q{code}{24 - width}x"
    small: dict[int, Callable[..., None]] = {}
    start, stride = 8 // width, VALUE_SIZE // width
    of_list = KINDS["LIST"]

    def lower(context: int, value: Any, at: int) -> None:
        size = len(value)
        data = _blank_list(of_list, at, size)
        if size <= SMALL:
            write = small.get(size)
            if write is None:
                write = small[size] = struct.Struct("<" + one * size).pack_into
            parts = [kind] * (2 * size)
            parts[1::2] = value
            write(MEMORY, data, *parts)
            return
        there = MEMORY[data : data + VALUE_SIZE * size]
        there[::VALUE_SIZE] = bytes([kind]) * size
        if code == "B":
            there[8::VALUE_SIZE] = value if isinstance(value, bytes) else bytes(value)
        else:
            fitting = value if isinstance(value, array) and value.typecode == code else array(code, value)
            there.cast(code)[start::stride] = memoryview(fitting)  # type: ignore[call-overload]

    return lower


def _lower_list(lower_one: Lower) -> Lower:
    def lower(context: int, value: Sequence[Any], at: int) -> None:
        data = _blank_list(KINDS["LIST"], at, len(value))
        for place, entry in enumerate(value):
            lower_one(context, entry, data + place * VALUE_SIZE)

    return lower


def _lower_tuple(parts: list[Lower]) -> Lower:
    def lower(context: int, value: Sequence[Any], at: int) -> None:
        data = _blank_list(KINDS["TUPLE"], at, len(parts))
        for place, (lower_one, entry) in enumerate(zip(parts, value, strict=True)):
            lower_one(context, entry, data + place * VALUE_SIZE)

    return lower


def _lower_record(fields: list[tuple[str, Lower]]) -> Lower:
    named = [(name.replace("-", "_"), name.encode(), lower_one) for name, lower_one in fields]

    def lower(context: int, value: Any, at: int) -> None:
        ffi.new_record(at + 8, len(named))
        there = read_u64(MEMORY, at + 16)[0]
        memset(there, 0, ENTRY_SIZE * len(named))
        write_u64(MEMORY, at, KINDS["RECORD"])
        for attribute, raw, lower_one in named:
            ffi.new_bytes(there, len(raw), raw)
            lower_one(context, getattr(value, attribute), there + 16)
            there += ENTRY_SIZE

    return lower


def _blank_list(kind: int, at: int, size: int) -> int:
    """Make a list or tuple of `size` false values, which are safe to free if a later step fails; their address."""
    ffi.new_list(at + 8, size)
    data: int = read_u64(MEMORY, at + 16)[0]
    memset(data, 0, VALUE_SIZE * size)
    write_u64(MEMORY, at, kind)
    return data


def _boxed(lower_one: Lower | None, context: int, value: Any) -> int:
    """The address of a C value of its own, or 0."""
    if lower_one is None:
        return 0
    inner = VALUE()
    lower_one(context, value, addressof(inner))
    address: int = ffi.new_value(addressof(inner))
    return address


def _lower_option(lower_one: Lower) -> Lower:
    def lower(context: int, value: Any, at: int) -> None:
        there = 0 if value is None else _boxed(lower_one, context, value)
        write_pair(MEMORY, at, KINDS["OPTION"], there)

    return lower


def _lower_result(good: Lower | None, bad: Lower | None) -> Lower:
    def lower(context: int, value: Any, at: int) -> None:
        failed = type(value) is Failed
        there = _boxed(bad, context, value.error) if failed else _boxed(good, context, value)
        _write_result(MEMORY, at, KINDS["RESULT"], not failed, there)

    return lower


def _lower_variant(cases: dict[str, Lower | None]) -> Lower:
    def lower(context: int, value: tuple[str, Any], at: int) -> None:
        name, payload = value
        there = _boxed(cases[name], context, payload)
        raw = name.encode()
        ffi.new_bytes(at + 8, len(raw), raw)
        write_u64(MEMORY, at + 24, there)
        write_u64(MEMORY, at, KINDS["VARIANT"])

    return lower


def _lower_resource(of_type: int) -> Lower:
    def lower(context: int, value: int, at: int) -> None:
        made, found = ffi.new_resource(True, value, of_type), c_void_p()
        error = ffi.resource_from_host(context, made, byref(found))
        ffi.delete_resource(made)
        ffi.take_error(error)
        write_pair(MEMORY, at, KINDS["RESOURCE"], found.value or 0)

    return lower
