"""Values between Python and a component, by address; `lift` reads them, `lower` writes them.

Both make converters once, from the reflected types. Lists of numbers of up to 64 go through `struct`, longer ones
through strided memory views.

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
from typing import Any

from wasmtime.component import _types as wit

from pie_core.application.wasm.ffi import KINDS

SMALL = 64  # elements
PAIR = struct.Struct("<QQ")
NUMBERS: dict[type, tuple[int, Any, str]] = {  # type -> (kind, C type, struct code)
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
u64 = ctypes.c_uint64.from_address
u8 = ctypes.c_uint8.from_address


class Failed:
    """The error side of a `result`."""

    __slots__ = ("error",)

    def __init__(self, error: Any) -> None:
        self.error = error


class Record:
    """A record that a guest passed."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.__dict__.update(fields)
