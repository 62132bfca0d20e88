"""What a component says about its imports, read from wasmtime into the types of wit_model.py.

Components are strangers' input: reading stops after `MAX_NODES` types in one function, and a type that a declaration
could never have (a resource, a stream) becomes its name only.
"""

from __future__ import annotations

from typing import Any

from wasmtime import component as wasm

from pie_core.application.wasm.wit_model import (
    Function,
    ListOf,
    OptionOf,
    Plain,
    Record,
    ResultOf,
    WitType,
    identifier,
)

MAX_NODES = 1000

_PLAIN = {
    wasm.Bool: "bool",
    wasm.S8: "s8",
    wasm.S16: "s16",
    wasm.S32: "s32",
    wasm.S64: "s64",
    wasm.U8: "u8",
    wasm.U16: "u16",
    wasm.U32: "u32",
    wasm.U64: "u64",
    wasm.F32: "f32",
    wasm.F64: "f64",
    wasm.Char: "char",
    wasm.String: "string",
    wasm.ErrorContext: "error-context",
    wasm.FutureType: "future",
    wasm.StreamType: "stream",
    wasm.OwnType: "own<resource>",
    wasm.BorrowType: "borrow<resource>",
}


def reflect(name: str, function: wasm.FuncType) -> Function:
    """The function as the component wants it; its records have no name, because a component does not tell it.

    Raises `ValueError` for a type that is too large or that wasmtime-py does not know.
    """
    reader = _Reader()
    try:
        parameters = tuple((label, reader.read(kind)) for label, kind in function.params)
        result = function.result
        return Function(name, parameters, None if result is None else reader.read(result))
    except TypeError as error:  # how wasmtime-py reports it
        raise ValueError(f"its type is unknown to this server ({error})") from error


class _Reader:
    """Reads the types of one function and counts them."""

    def __init__(self) -> None:
        self._left = MAX_NODES

    def read(self, kind: Any) -> WitType:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"its type is made of more than {MAX_NODES} types")
        match kind:
            case wasm.ListType():
                return ListOf(self.read(kind.element))
            case wasm.OptionType():
                return OptionOf(self.read(kind.payload))
            case wasm.ResultType():
                return ResultOf(self._maybe(kind.ok), self._maybe(kind.err))
            case wasm.RecordType():
                return Record("", tuple((name, self.read(field)) for name, field in kind.fields))
            case wasm.TupleType():
                return Plain(f"tuple<{', '.join(self.read(part).text(False) for part in kind.elements)}>")
            case wasm.VariantType():
                return Plain(f"variant {{ {', '.join(self._case(*case) for case in kind.cases)} }}")
            case wasm.EnumType():
                return Plain(f"enum {{ {', '.join(map(identifier, kind.names))} }}")
            case wasm.FlagsType():
                return Plain(f"flags {{ {', '.join(map(identifier, kind.names))} }}")
        return Plain(_PLAIN[type(kind)])

    def _maybe(self, kind: Any) -> WitType | None:
        return None if kind is None else self.read(kind)

    def _case(self, name: str, kind: Any) -> str:
        return identifier(name) if kind is None else f"{identifier(name)}({self.read(kind).text(False)})"
