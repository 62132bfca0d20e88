"""Values between Python and a component, by address: converters made once from the reflected types.

`lift_from(type)` gives a function from the address of a C value to a Python value, `lower_to(type)` one that writes a
Python value to an address. Lists of numbers of up to 64 go through `struct`, longer ones through strided memory views.

| WIT            | Python                                             |
|----------------|----------------------------------------------------|
| numbers, bool  | int, float, bool                                   |
| string, enum   | str                                                |
| list<u8>       | bytes                                              |
| list<T>        | list; any sequence or `array` is taken             |
| record         | `Record` (attributes); anything with the attributes is taken |
| tuple          | tuple                                              |
| option<T>      | None or the value                                  |
| result<T, E>   | taken only: the value, or `Failed(E's value)`      |
| own, borrow    | the host's number                                  |
"""

from __future__ import annotations

import ctypes
import struct
from array import array
from collections.abc import Callable, Sequence
from ctypes import addressof, byref, c_void_p, memmove, memset, string_at
from typing import Any

from wasmtime.component import ResourceType
from wasmtime.component import _types as wit

from pie_core.application.wasm import ffi
from pie_core.application.wasm.ffi import ENTRY_SIZE, KINDS, VALUE, VALUE_SIZE

Lift = Callable[[int, int], Any]
"""(context, address) -> value."""
Lower = Callable[[int, Any, int], None]
"""(context, value, address)."""
ResourceNumber = Callable[[ResourceType], int]

_SMALL = 64  # elements
_PAIR = struct.Struct("<QQ")
_NUMBERS: dict[type, tuple[int, Any, str]] = {  # type -> (kind, C type, struct code)
    wit.S8: (KINDS["S8"], ctypes.c_int8, "b"),
    wit.U8: (KINDS["U8"], ctypes.c_uint8, "B"),
    wit.S16: (KINDS["S16"], ctypes.c_int16, "h"),
    wit.U16: (KINDS["U16"], ctypes.c_uint16, "H"),
    wit.S32: (KINDS["S32"], ctypes.c_int32, "i"),
    wit.U32: (KINDS["U32"], ctypes.c_uint32, "I"),
    wit.S64: (KINDS["S64"], ctypes.c_int64, "q"),
    wit.U64: (KINDS["U64"], ctypes.c_uint64, "Q"),
    wit.F32: (KINDS["F32"], ctypes.c_float, "f"),
    wit.F64: (KINDS["F64"], ctypes.c_double, "d"),
    wit.Bool: (KINDS["BOOL"], ctypes.c_bool, "?"),
}
_u64 = ctypes.c_uint64.from_address
_u8 = ctypes.c_uint8.from_address


class Failed:
    """The error side of a `result`."""

    __slots__ = ("error",)

    def __init__(self, error: Any) -> None:
        self.error = error


class Record:
    """A record that a guest passed."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.__dict__.update(fields)


def lift_from(kind: Any) -> Lift:
    """A reader for values of a reflected type. Raises `TypeError` for types that no call of ours carries."""
    number = _NUMBERS.get(type(kind))
    if number is not None:
        read = number[1].from_address
        return lambda context, at: read(at + 8).value
    match kind:
        case wit.String() | wit.EnumType():
            return _lift_text
        case wit.ListType():
            element = _NUMBERS.get(type(kind.element))
            return _lift_list(kind.element) if element is None else _lift_numbers(element[2])
        case wit.TupleType():
            parts = [(lift_from(part), place * VALUE_SIZE) for place, part in enumerate(kind.elements)]
            return lambda context, at: tuple([lift(context, _u64(at + 16).value + by) for lift, by in parts])
        case wit.RecordType():
            return _lift_record(kind)
        case wit.OptionType():
            lift = lift_from(kind.payload)
            return lambda context, at: lift(context, there) if (there := _u64(at + 8).value) else None
        case wit.ResultType():
            return _lift_result(kind)
        case wit.OwnType() | wit.BorrowType():
            return _lift_resource
    raise TypeError(f"a guest cannot pass values of type {type(kind).__name__}")


def lower_to(kind: Any, number_of: ResourceNumber) -> Lower:
    """A writer for values of a reflected type; `number_of` tells a resource type's number on the host."""
    number = _NUMBERS.get(type(kind))
    if number is not None:
        return _lower_number(*number[:2])
    match kind:
        case wit.String() | wit.EnumType():
            return _lower_text(KINDS["STRING" if isinstance(kind, wit.String) else "ENUM"])
        case wit.ListType():
            element = _NUMBERS.get(type(kind.element))
            if element is not None:
                return _lower_numbers(element[0], element[2])
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


def _lift_text(context: int, at: int) -> str:
    size, data = _PAIR.unpack(string_at(at + 8, 16))
    return string_at(data, size).decode()


def _lift_numbers(code: str) -> Lift:
    width = struct.calcsize(f"<{code}")
    one = f"8x{code}{24 - width}x"
    small: dict[int, struct.Struct] = {}
    is_bytes = code == "B"

    def lift(context: int, at: int) -> Any:
        size, data = _PAIR.unpack(string_at(at + 8, 16))
        if size == 0:
            return b"" if is_bytes else []
        raw = string_at(data, VALUE_SIZE * size)
        if is_bytes:
            return raw[8::VALUE_SIZE]
        if size <= _SMALL:
            layout = small.get(size)
            if layout is None:
                layout = small[size] = struct.Struct("<" + one * size)
            return list(layout.unpack(raw))
        return memoryview(raw).cast(code)[8 // width :: VALUE_SIZE // width].tolist()  # type: ignore[call-overload]

    return lift


def _lift_list(element: Any) -> Lift:
    lift_one = lift_from(element)

    def lift(context: int, at: int) -> list[Any]:
        size, data = _PAIR.unpack(string_at(at + 8, 16))
        return [lift_one(context, data + place * VALUE_SIZE) for place in range(size)]

    return lift


def _lift_record(kind: Any) -> Lift:
    fields = [
        (name.replace("-", "_"), lift_from(field), place * ENTRY_SIZE + 16)
        for place, (name, field) in enumerate(kind.fields)
    ]

    def lift(context: int, at: int) -> Record:
        data = _u64(at + 16).value
        return Record({name: lift_one(context, data + by) for name, lift_one, by in fields})

    return lift


def _lift_result(kind: Any) -> Lift:
    good = None if kind.ok is None else lift_from(kind.ok)
    bad = None if kind.err is None else lift_from(kind.err)

    def lift(context: int, at: int) -> Any:
        is_good, there = _u8(at + 8).value, _u64(at + 16).value
        side = good if is_good else bad
        value = None if side is None else side(context, there)
        return value if is_good else Failed(value)

    return lift


def _lift_resource(context: int, at: int) -> int:
    found = c_void_p()
    ffi.take_error(ffi.resource_to_host(context, _u64(at + 8).value, byref(found)))
    number = int(ffi.resource_number(found))
    ffi.delete_resource(found)
    return number


def _lower_number(kind: int, c_type: Any) -> Lower:
    write = c_type.from_address

    def lower(context: int, value: Any, at: int) -> None:
        _u8(at).value = kind
        write(at + 8).value = value

    return lower


def _lower_text(kind: int) -> Lower:
    def lower(context: int, value: str, at: int) -> None:
        raw = value.encode()
        _u8(at).value = kind
        ffi.new_bytes(at + 8, len(raw), raw)

    return lower


def _lower_numbers(kind: int, code: str) -> Lower:
    width = struct.calcsize(f"<{code}")
    one = f"Q{code}{24 - width}x"
    small: dict[int, struct.Struct] = {}
    start, stride = 8 // width, VALUE_SIZE // width
    of_list = KINDS["LIST"]

    def lower(context: int, value: Any, at: int) -> None:
        size = len(value)
        raw: bytes | bytearray
        if size <= _SMALL:
            layout = small.get(size)
            if layout is None:
                layout = small[size] = struct.Struct("<" + one * size)
            parts = [kind] * (2 * size)
            parts[1::2] = value
            raw = layout.pack(*parts)
        else:
            raw = bytearray(VALUE_SIZE * size)
            raw[::VALUE_SIZE] = bytes([kind]) * size
            if code == "B":
                raw[8::VALUE_SIZE] = value
            else:
                fitting = value if isinstance(value, array) and value.typecode == code else array(code, value)
                memoryview(raw).cast(code)[start::stride] = memoryview(fitting)  # type: ignore[call-overload]
            raw = bytes(raw)
        ffi.new_list(at + 8, size)
        memmove(_u64(at + 16).value, raw, VALUE_SIZE * size)
        _u8(at).value = of_list

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
        there = _u64(at + 16).value
        memset(there, 0, ENTRY_SIZE * len(named))
        _u8(at).value = KINDS["RECORD"]
        for attribute, raw, lower_one in named:
            ffi.new_bytes(there, len(raw), raw)
            lower_one(context, getattr(value, attribute), there + 16)
            there += ENTRY_SIZE

    return lower


def _blank_list(kind: int, at: int, size: int) -> int:
    """Make a list or tuple of `size` false values, which are safe to free if a later step fails; their address."""
    ffi.new_list(at + 8, size)
    data: int = _u64(at + 16).value
    memset(data, 0, VALUE_SIZE * size)
    _u8(at).value = kind
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
        _u8(at).value = KINDS["OPTION"]
        _u64(at + 8).value = there

    return lower


def _lower_result(good: Lower | None, bad: Lower | None) -> Lower:
    def lower(context: int, value: Any, at: int) -> None:
        failed = type(value) is Failed
        there = _boxed(bad, context, value.error) if failed else _boxed(good, context, value)
        _u8(at).value = KINDS["RESULT"]
        _u64(at + 8).value = not failed
        _u64(at + 16).value = there

    return lower


def _lower_variant(cases: dict[str, Lower | None]) -> Lower:
    def lower(context: int, value: tuple[str, Any], at: int) -> None:
        name, payload = value
        there = _boxed(cases[name], context, payload)
        raw = name.encode()
        _u8(at).value = KINDS["VARIANT"]
        ffi.new_bytes(at + 8, len(raw), raw)
        _u64(at + 24).value = there

    return lower


def _lower_resource(of_type: int) -> Lower:
    def lower(context: int, value: int, at: int) -> None:
        made, found = ffi.new_resource(True, value, of_type), c_void_p()
        error = ffi.resource_from_host(context, made, byref(found))
        ffi.delete_resource(made)
        ffi.take_error(error)
        _u8(at).value = KINDS["RESOURCE"]
        _u64(at + 8).value = found.value or 0

    return lower
