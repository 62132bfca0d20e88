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
LONGEST_TEXT = 64 << 20  # bytes
MOST_BYTES = 5 << 19  # of lists: each takes 48 of the 128 MiB that wasmtime grants a call; some are left for the rest
NUMBERS: dict[type, tuple[int, str]] = {  # type -> (kind, struct code)
    wit.S8: (KINDS["S8"], "b"),
    wit.U8: (KINDS["U8"], "B"),
    wit.S16: (KINDS["S16"], "h"),
    wit.U16: (KINDS["U16"], "H"),
    wit.S32: (KINDS["S32"], "i"),
    wit.U32: (KINDS["U32"], "I"),
    wit.S64: (KINDS["S64"], "q"),
    wit.U64: (KINDS["U64"], "Q"),
    wit.F32: (KINDS["F32"], "f"),
    wit.F64: (KINDS["F64"], "d"),
    wit.Bool: (KINDS["BOOL"], "?"),
}
MEMORY = memoryview((ctypes.c_ubyte * (1 << 47)).from_address(0)).cast("B")
"""This process's address space: `unpack_from(MEMORY, address)` costs a fifth of what a ctypes object does."""
read_u64 = struct.Struct("<Q").unpack_from
read_pair = struct.Struct("<QQ").unpack_from
write_u64 = struct.Struct("<Q").pack_into
write_pair = struct.Struct("<QQ").pack_into


class Failed:
    """The error side of a `result`."""

    __slots__ = ("error",)

    def __init__(self, error: Any) -> None:
        self.error = error


class Record:
    """A record that a guest passed."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.__dict__.update(fields)
