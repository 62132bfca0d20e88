"""From what a guest passed to a command ready to enqueue: checks, defaults, handles to resources.

Compiled once per call from its declaration; this is where "anything wrong is an error to that inferlet only" happens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pie_core.command import Call
from pie_core.errors import ArgumentError
from pie_core.resource import Resource
from pie_core.schema import Access, ValueType

if TYPE_CHECKING:
    from pie_core.control.space import Space

Step = Callable[["Space", Any], Any]


class Binder:
    """Turns positional arguments into one call, and says which resources it touches."""

    __slots__ = ("_defaults", "_read", "_steps", "_written", "call", "name", "required")

    def __init__(self, call: type[Call]) -> None:
        signature = call.signature()
        self.call = call
        self.name = signature.name
        self.required = sum(parameter.required for parameter in signature.parameters)
        self._defaults = tuple(parameter.default for parameter in signature.parameters)
        self._steps = [_step(p.type, f"{self.name}: argument `{p.name}`") for p in signature.parameters]
        self._read = [p.name for p in signature.parameters if p.type.access is Access.READ]
        self._written = [p.name for p in signature.parameters if p.type.access is Access.WRITE]

    def bind(self, space: Space, arguments: Sequence[Any]) -> Call:
        """Raises `ArgumentError` or `HandleError`; nothing was done then."""
        if not self.required <= len(arguments) <= len(self._steps):
            raise ArgumentError(f"{self.name} takes {self._expected()} arguments, got {len(arguments)}")
        if len(arguments) < len(self._defaults):
            arguments = (*arguments, *self._defaults[len(arguments) :])
        return self.call(*[step(space, argument) for step, argument in zip(self._steps, arguments, strict=True)])

    def touched(self, call: Call) -> tuple[list[Resource], list[Resource]]:
        """The resources that a bound call reads and those that it writes, as its fields say now."""
        reads: list[Resource] = []
        for name in self._read:
            reads += getattr(call, name) or ()
        writes: list[Resource] = []
        for name in self._written:
            writes += getattr(call, name) or ()
        return reads, writes

    def _expected(self) -> str:
        total = len(self._steps)
        return str(total) if self.required == total else f"{self.required} to {total}"


def _step(kind: ValueType, where: str) -> Step:
    if kind.resource is None or kind.access is Access.FREE:
        check = kind.check
        return lambda space, value: check(value, where)
    return _resources(kind, kind.resource, where)


def _resources(kind: ValueType, resource: type[Resource], where: str) -> Step:
    check, optional = kind.check, kind.optional

    def find(space: Space, value: Any) -> Any:
        if type(value) is not list:
            if value is None and optional:
                return None
            value = check(value, where)
        table = space.tables[resource]
        try:
            return tuple([table[handle] for handle in value])  # the hot path; `resolve` is the one that explains
        except (KeyError, TypeError):
            return space.resolve(resource, value, where)

    def find_writable(space: Space, value: Any) -> Any:
        found = find(space, value)
        for record in found or ():
            if record.holders > 1:
                space.refuse_shared(record, where)
        return found

    return find_writable if kind.access is Access.WRITE else find


def bind_values(call: type[Call], arguments: Sequence[Any]) -> Call:
    """A call that names no resources, from positional arguments. Raises `ArgumentError`."""
    parameters = call.signature().parameters
    required = sum(parameter.required for parameter in parameters)
    if not required <= len(arguments) <= len(parameters):
        raise ArgumentError(f"{call.signature().name} takes {required} arguments, got {len(arguments)}")
    checked = [
        parameter.type.check(argument, f"{call.signature().name}: argument `{parameter.name}`")
        for parameter, argument in zip(parameters, arguments, strict=False)
    ]
    return call(*checked)
