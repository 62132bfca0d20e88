"""The types a call may carry, read off its annotations once, when its class is made.

One small, closed vocabulary (numbers, text, bytes, lists, masks, handles, records) serves every consumer: argument
checks here, WIT and SDK signatures, the reference page. A value type knows its name on the wire and how to check a
value that a guest passed; it knows no trait and no transport.
"""

from __future__ import annotations

import types
import typing
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeAlias

import msgspec

from pie_core.errors import ArgumentError, DeclarationError
from pie_core.resource import Resource


class Access(Enum):
    """What a command does to a resource it names."""

    READ = "reads"
    WRITE = "writes"
    FREE = "frees"


@dataclass(frozen=True)
class Handles:
    """Annotation for handles that a control call takes as plain numbers: ``Annotated[tuple[int, ...], Handles(X)]``."""

    resource: type[Resource]


@dataclass(frozen=True)
class Integer:
    """An integer of `bits` bits; the guest gets an error, never a wrapped number."""

    bits: int
    signed: bool = False

    @property
    def low(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        return (1 << (self.bits - self.signed)) - 1


@dataclass(frozen=True)
class Elements:
    """What an `array` holds: the name of the type on the wire."""

    name: str


U32 = Annotated[int, Integer(32)]
U64 = Annotated[int, Integer(64)]
S32 = Annotated[int, Integer(32, signed=True)]
if TYPE_CHECKING:
    U32Array: TypeAlias = array[int]
    F32Array: TypeAlias = array[float]
else:  # typecodes "I" and "f"; `array` takes no parameters at run time before Python 3.12
    U32Array = Annotated[array, Elements("u32")]
    F32Array = Annotated[array, Elements("f32")]


class Mask(msgspec.Struct, frozen=True):
    """Booleans as `rows` x `cols` bytes, row after row, each 0 or 1; True = may be attended to."""

    rows: int
    cols: int
    data: bytes

    @classmethod
    def of(cls, value: Any, where: str) -> Mask:
        """Accept a Mask, a flat sequence (one row) or a sequence of rows of equal length."""
        if isinstance(value, Mask):
            if len(value.data) != value.rows * value.cols:
                raise ArgumentError(f"{where}: mask of {value.rows}x{value.cols} carries {len(value.data)} values")
            return cls(value.rows, value.cols, bytes(value.data if _only_flags(value.data) else map(bool, value.data)))
        if isinstance(value, str) or not isinstance(value, Sequence | bytearray | array):
            raise ArgumentError(f"{where}: expected a mask (rows of True and False), got {type(value).__name__}")
        given: list[Any] = list(value) if _nested(value) else [value]
        try:
            rows = [bytes(row) if _only_flags(row) else bytes(map(_flag, row)) for row in given]
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"{where}: a mask is made of True and False ({error})") from error
        if len({len(row) for row in rows}) > 1:
            raise ArgumentError(f"{where}: the rows of the mask differ in length: {sorted({len(r) for r in rows})}")
        return cls(len(rows), len(rows[0]) if rows else 0, b"".join(rows))


def _nested(value: Sequence[Any] | array[Any]) -> bool:
    return len(value) > 0 and isinstance(value[0], Sequence | bytearray) and not isinstance(value[0], str)


def _only_flags(row: Any) -> bool:
    """Whether these are bytes of 0 and 1, which is told twenty times as fast as value by value."""
    return isinstance(row, bytes | bytearray) and not row.translate(None, b"\0\1")


def _flag(value: Any) -> bool:
    if value is True or value is False or (type(value) is int and value in (0, 1)):
        return bool(value)
    raise ValueError(f"got {value!r:.40}")


@dataclass(frozen=True)
class ValueType:
    """One type of value: its name in declarations and on the wire, and the check for what a guest passed."""

    name: str
    check: Callable[[Any, str], Any]
    resource: type[Resource] | None = None  # set when the value is a list of handles
    access: Access | None = None
    optional: bool = False
    record: type[Any] | None = None  # the Struct, also of those in a list or option

    ANY: ClassVar[str] = "any"


def value_type(annotation: Any, where: str) -> ValueType:
    """Translate one annotation. Raises `DeclarationError` naming `where` if it is outside the vocabulary."""
    origin, extra = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _annotated(extra[0], extra[1:], where)
    if origin in (typing.Union, types.UnionType):
        return _optional(extra, where)
    if origin is list or (origin is tuple and extra[1:] == (...,)):
        limits = [note for note in getattr(extra[0], "__metadata__", ()) if isinstance(note, Integer)]
        item = value_type(extra[0], where)
        return _integers(item, limits[0]) if limits else _list(item)
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if isinstance(annotation, type) and issubclass(annotation, Mask):
        return ValueType("mask", Mask.of)
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return ValueType(annotation.__name__, _record(annotation), record=annotation)
    raise DeclarationError(f"{where}: {annotation!r} is not a type a call can carry (see pie_core/schema.py)")


def _annotated(base: Any, notes: tuple[Any, ...], where: str) -> ValueType:
    for note in notes:
        if isinstance(note, Integer):
            return ValueType(f"{'s' if note.signed else 'u'}{note.bits}", _integer(note))
        if isinstance(note, Elements):
            return ValueType(f"list<{note.name}>", lambda value, _: value)
        if isinstance(note, Handles):
            return ValueType(f"list<{note.resource.kind}>", _handles, note.resource, Access.FREE)
        if isinstance(note, Access):
            resource = typing.get_args(base)[0]
            if not (isinstance(resource, type) and issubclass(resource, Resource)):
                raise DeclarationError(f"{where}: {note.value} needs a Resource class, got {resource!r}")
            return ValueType(f"list<{resource.kind}>", _handles, resource, note)
    return value_type(base, where)


def _optional(members: tuple[Any, ...], where: str) -> ValueType:
    inner = [member for member in members if member is not type(None)]
    if len(inner) != 1 or len(inner) == len(members):
        raise DeclarationError(f"{where}: the only union a call can carry is `X | None`")
    kind = value_type(inner[0], where)
    check = kind.check
    return ValueType(
        f"option<{kind.name}>",
        lambda value, at: None if value is None else check(value, at),
        kind.resource,
        kind.access,
        optional=True,
        record=kind.record,
    )


def _integers(item: ValueType, limits: Integer) -> ValueType:
    low, high, careful = limits.low, limits.high, _list(item).check

    def check(value: Any, where: str) -> list[int]:
        if type(value) is list and set(map(type, value)) == {int} and low <= min(value) and max(value) <= high:
            return value.copy()  # the guest may go on using its list
        found: list[int] = careful(value, where)
        return found

    return ValueType(f"list<{item.name}>", check)


def _list(item: ValueType) -> ValueType:
    check_item = item.check

    def check(value: Any, where: str) -> list[Any]:
        if isinstance(value, str | bytes) or not isinstance(value, Sequence | array):
            raise ArgumentError(f"{where}: expected a list, got {type(value).__name__}")
        return [check_item(entry, where) for entry in value]

    return ValueType(f"list<{item.name}>", check, record=item.record)


def _integer(limits: Integer) -> Callable[[Any, str], int]:
    low, high = limits.low, limits.high

    def check(value: Any, where: str) -> int:
        if type(value) is not int:
            raise ArgumentError(f"{where}: expected an integer, got {value!r:.60} ({type(value).__name__})")
        if not low <= value <= high:
            raise ArgumentError(f"{where}: {value} is outside {low}..{high}")
        return value

    return check


def _handles(value: Any, where: str) -> Sequence[int]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | array):
        raise ArgumentError(f"{where}: expected a list of handles, got {type(value).__name__}")
    return value


def _scalar(kind: type, *also: type) -> Callable[[Any, str], Any]:
    accepted = (kind, *also)

    def check(value: Any, where: str) -> Any:
        if type(value) in accepted:
            return kind(value)
        raise ArgumentError(f"{where}: expected {kind.__name__}, got {value!r:.60} ({type(value).__name__})")

    return check


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ArgumentError(f"{where}: expected str, got {value!r:.60} ({type(value).__name__})")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ArgumentError(f"{where}: half a surrogate pair at {error.start} is not text") from error
    return str(value)


def _record(record: type[Any]) -> Callable[[Any, str], Any]:
    def check(value: Any, where: str) -> Any:
        if isinstance(value, record):
            return value
        try:
            return msgspec.convert(value, record)
        except msgspec.ValidationError as error:
            raise ArgumentError(f"{where}: {error}") from error

    return check


_SCALARS: dict[Any, ValueType] = {
    int: ValueType("s64", _integer(Integer(64, signed=True))),
    float: ValueType("f64", _scalar(float, int)),
    bool: ValueType("bool", _scalar(bool)),
    str: ValueType("string", _text),
    bytes: ValueType("bytes", _scalar(bytes, bytearray, memoryview)),
    type(None): ValueType("none", lambda value, _: value),
}
