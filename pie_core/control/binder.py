"""From what a guest passed to a command ready to enqueue: checks, defaults, handles to resources.

Compiled once per call from its declaration; this is where "anything wrong is an error to that inferlet only" happens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pie_core.command import Call, Signature
from pie_core.errors import ArgumentError
from pie_core.resource import Resource
from pie_core.schema import Access

if TYPE_CHECKING:
    from pie_core.control.space import Space


class Binder:
    """Turns positional arguments into one call, and says which resources it touches.

    Both are functions written from the declaration, for they run for every call of every inferlet.
    """

    __slots__ = ("bind", "call", "name", "touched")

    bind: Callable[[Space | None, Sequence[Any]], Any]
    """The call with these arguments; None serves where it names no resources. Raises `ArgumentError` or `HandleError`;
    nothing was done then."""

    touched: Callable[[Call], tuple[list[Resource], list[Resource]]]
    """The resources that a bound call reads and those that it writes, as its fields say now."""

    def __init__(self, call: type[Call]) -> None:
        signature = call.signature()
        self.call = call
        self.name = signature.name
        scope: dict[str, Any] = {"Call": call, "complete": partial(_complete, signature)}
        lines = _bind_source(signature, scope) + _touched_source(signature)
        exec(compile("\n".join(lines), f"<binder of {self.name}>", "exec"), scope)
        self.bind = scope["bind"]
        self.touched = scope["touched"]


def _complete(signature: Signature, arguments: Sequence[Any]) -> Sequence[Any]:
    """All arguments, with the defaults of those that are not given."""
    total = len(signature.parameters)
    required = sum(parameter.required for parameter in signature.parameters)
    if not required <= len(arguments) <= total:
        expected = str(total) if required == total else f"{required} to {total}"
        raise ArgumentError(f"{signature.name} takes {expected} arguments, got {len(arguments)}")
    return (*arguments, *[parameter.default for parameter in signature.parameters[len(arguments) :]])


def _bind_source(signature: Signature, scope: dict[str, Any]) -> list[str]:
    values = [f"a{place}" for place in range(len(signature.parameters))]
    lines = ["def bind(space, arguments):", f"    if len(arguments) != {len(values)}: arguments = complete(arguments)"]
    if values:
        lines.append(f"    {', '.join(values)}, = arguments")
    for place, (value, parameter) in enumerate(zip(values, signature.parameters, strict=True)):
        kind = parameter.type
        scope |= {f"check{place}": kind.check, f"where{place}": f"{signature.name}: argument `{parameter.name}`"}
        checked = f"{value} = check{place}({value}, where{place})"
        if kind.resource is None or kind.access is Access.FREE:
            lines.append(f"    {checked}")
            continue
        scope[f"kind{place}"] = kind.resource
        lines += [
            f"    if type({value}) is not list: {checked}",
            f"    if {value} is not None:",
            f"        try: {value} = tuple(map(space.tables[kind{place}].__getitem__, {value}))",
            f"        except (KeyError, TypeError): {value} = space.resolve(kind{place}, {value}, where{place})",
        ]
        if kind.access is Access.WRITE:
            lines += [
                f"        for record in {value}:",
                f"            if record.holders > 1: space.refuse_shared(record, where{place})",
            ]
    names = tuple(parameter.name for parameter in signature.parameters)
    if names != scope["Call"].__struct_fields__[: len(names)]:  # some are required and come behind others that are not
        values = [f"{name}={value}" for name, value in zip(names, values, strict=True)]
    return [*lines, f"    return Call({', '.join(values)})"]


def _touched_source(signature: Signature) -> list[str]:
    def listed(access: Access) -> str:
        fields = [p for p in signature.parameters if p.type.access is access]
        return ", ".join(f"*(call.{p.name} or ())" if p.type.optional else f"*call.{p.name}" for p in fields)

    return ["def touched(call):", f"    return [{listed(Access.READ)}], [{listed(Access.WRITE)}]"]
