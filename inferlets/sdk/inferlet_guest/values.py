"""From what a program passes to what the generated imports take, with the server's own messages.

The server checks again: this is here because a value that does not fit its type would trap the whole component.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any

from inferlet.errors import ArgumentError, HandleError

Check = Callable[[Any, str], Any]

_INTEGERS = {
    "u32": (0, (1 << 32) - 1),
    "u64": (0, (1 << 64) - 1),
    "s32": (-(1 << 31), (1 << 31) - 1),
    "s64": (-(1 << 63), (1 << 63) - 1),
}
_DIGITS = bytes.maketrans(b"\0\1", b"01")


def check_of(kind: str, make_mask: Callable[[int, int, bytes], Any]) -> Check:
    """The check for a type by its name in declarations. `make_mask` makes the mask of the imports."""
    if kind in _INTEGERS:
        return _integer(*_INTEGERS[kind])
    if kind.startswith("option<"):
        inner = check_of(kind[7:-1], make_mask)
        return lambda value, where: None if value is None else inner(value, where)
    if kind.startswith("list<"):
        return _list_of(kind[5:-1], make_mask)
    if kind == "mask":
        return lambda value, where: make_mask(*pack_mask(value, where))
    return _SCALARS.get(kind, lambda value, _: value)


def _list_of(item: str, make_mask: Callable[[int, int, bytes], Any]) -> Check:
    if item in _INTEGERS:
        return _integers(*_INTEGERS[item])
    if item in _SCALARS or item == "mask" or item.startswith(("list<", "option<")):
        return _list(check_of(item, make_mask))
    if item[:1].isupper():  # a record
        return _list(lambda value, _: value)
    return _handles(item)


def _integer(low: int, high: int) -> Check:
    def check(value: Any, where: str) -> int:
        if type(value) is not int:
            raise ArgumentError(f"{where}: expected an integer, got {value!r:.60} ({type(value).__name__})")
        if not low <= value <= high:
            raise ArgumentError(f"{where}: {value} is outside {low}..{high}")
        return value

    return check


def _integers(low: int, high: int) -> Check:
    careful = _list(_integer(low, high))

    def check(value: Any, where: str) -> Any:
        if type(value) is list and set(map(type, value)) == {int} and low <= min(value) and max(value) <= high:
            return value
        return careful(value, where)

    return check


def _list(check_item: Check) -> Check:
    def check(value: Any, where: str) -> list[Any]:
        if isinstance(value, str | bytes) or not isinstance(value, Sequence | array):
            raise ArgumentError(f"{where}: expected a list, got {type(value).__name__}")
        return [check_item(entry, where) for entry in value]

    return check


def _handles(kind: str) -> Check:
    def check(value: Any, where: str) -> Any:
        try:
            array("I", value)
        except (TypeError, OverflowError):
            raise _wrong_handles(value, kind, where) from None
        return value if type(value) is list else list(value)

    return check


def _wrong_handles(value: Any, kind: str, where: str) -> ArgumentError:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | array):
        return ArgumentError(f"{where}: expected a list of handles, got {type(value).__name__}")
    wrong = next(h for h in value if not (isinstance(h, int) and 0 <= h < 1 << 32))
    return HandleError(f"{where}: {wrong!r} is not a {kind} of this inferlet; it was freed before or never allocated")


def _scalar(kind: type, *also: type) -> Check:
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
    return value


_SCALARS: dict[str, Check] = {
    "f32": _scalar(float, int),
    "f64": _scalar(float, int),
    "bool": _scalar(bool),
    "string": _text,
    "bytes": _scalar(bytes, bytearray, memoryview),
}


def pack_mask(value: Any, where: str) -> tuple[int, int, bytes]:
    """Rows, columns and the bits of a mask: nested rows, one flat row, or an object with `rows`, `cols` and `data`."""
    if all(hasattr(value, name) for name in ("rows", "cols", "data")):
        if len(value.data) != value.rows * value.cols:
            raise ArgumentError(f"{where}: mask of {value.rows}x{value.cols} carries {len(value.data)} values")
        return value.rows, value.cols, pack_bits(bytes(map(bool, value.data)))
    if isinstance(value, str) or not isinstance(value, Sequence | bytearray | array):
        raise ArgumentError(f"{where}: expected a mask (rows of True and False), got {type(value).__name__}")
    nested = len(value) > 0 and isinstance(value[0], Sequence | bytearray) and not isinstance(value[0], str)
    given: list[Any] = list(value) if nested else [value]
    try:
        rows = [bytes(row) if _only_flags(row) else bytes(map(_flag, row)) for row in given]
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{where}: a mask is made of True and False ({error})") from error
    if len({len(row) for row in rows}) > 1:
        raise ArgumentError(f"{where}: the rows of the mask differ in length: {sorted({len(r) for r in rows})}")
    return len(rows), len(rows[0]) if rows else 0, pack_bits(b"".join(rows))


def _only_flags(row: Any) -> bool:
    """Whether these are bytes of 0 and 1, which is told twenty times as fast as value by value."""
    return isinstance(row, bytes | bytearray) and not row.translate(None, b"\0\1")


def _flag(value: Any) -> bool:
    if value is True or value is False or (type(value) is int and value in (0, 1)):
        return bool(value)
    raise ValueError(f"got {value!r:.40}")


def pack_bits(flags: bytes) -> bytes:
    """Bytes of 0 and 1 as bits, the low one first."""
    return int(b"0" + flags[::-1].translate(_DIGITS), 2).to_bytes((len(flags) + 7) // 8, "little")
