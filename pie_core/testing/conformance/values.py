"""Values for the arguments of a call, right and wrong, by the type that its declaration names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pie_core.command import Parameter
from pie_core.schema import ValueType

HandlesOf = Callable[[ValueType], list[int]]

_INTEGER: tuple[Any, ...] = ("x", 1.5, True, b"1", [])
_WRONG: dict[str, tuple[Any, ...]] = {
    "bool": (1, "x", None),
    "bytes": ("x", 5, None),
    "f32": ("x", True, None),
    "f64": ("x", True, None),
    "string": (5, b"x", None, "\udc80"),
    "mask": (5, "1", [0.5], [[True, True], [True]]),
}
_RIGHT: dict[str, Any] = {"bool": True, "bytes": b"", "f32": 0.5, "f64": 0.5, "string": "x", "mask": [True]}


def plausible(parameter: Parameter, handles: HandlesOf) -> Any:
    """A value that passes the check of its type. It need not make sense to the call."""
    kind = parameter.type
    if not parameter.required:
        return parameter.default
    if kind.resource is not None:
        return handles(kind)
    if kind.optional:
        return None
    if kind.name.startswith("list<"):
        return []
    return 0 if _is_integer(kind.name) else _RIGHT[kind.name]


def can_be_made(parameter: Parameter) -> bool:
    """Whether `plausible` knows a value for it; a required record is the one thing it has none for."""
    name = parameter.type.name
    known = parameter.type.optional or parameter.type.resource is not None or name.startswith("list<")
    return not parameter.required or known or _is_integer(name) or name in _RIGHT


def wrong(kind: ValueType) -> Iterator[Any]:
    """Values that the check of the type must refuse."""
    if kind.resource is not None:
        yield from (5, "x", {1: 2})
        if not kind.optional:
            yield None
        return
    for value in _wrong(kind.name.removeprefix("option<").removesuffix(">") if kind.optional else kind.name):
        if value is not None or not kind.optional:
            yield value


def _wrong(name: str) -> Iterator[Any]:
    if name.startswith("list<"):
        yield from (5, "x", b"x", None)
        item = name.removeprefix("list<").removesuffix(">")
        if item in _WRONG or _is_integer(item):
            yield from ([value] for value in _wrong(item))
    elif _is_integer(name):
        bits, signed = int(name[1:]), name[0] == "s"
        yield from (*_INTEGER, None, 1 << (bits - signed), -(1 << (bits - 1)) - 1 if signed else -1)
    else:
        yield from _WRONG.get(name, (5,))  # else a record, which no number is


def _is_integer(name: str) -> bool:
    return name[:1] in ("u", "s") and name[1:].isdigit()
