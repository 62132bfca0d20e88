"""Makes the call functions (`forward`, `embed_txt`, `send`, ...) from what the installed traits declare.

The source of each function is written from its declaration, so that arguments, defaults and names are Python's own
business and a call costs what a hand-written one would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from inferlet.dist import Dist
from inferlet.errors import ArgumentError
from inferlet.future import Future
from inferlet.handles import KINDS, Queue
from inferlet.host import host

Declaration = Mapping[str, Any]
"""`call`, `trait`, `target`, `future`, `parameters` (`name`, `type`, `required`, `default`), `returns`, `doc`."""

RECORDS: dict[str, Callable[[Any], Any]] = {"Dist": Dist.of, "MaybeText": lambda record: record.value}


def make_functions(declarations: Iterable[Declaration]) -> dict[str, Callable[..., Any]]:
    """A function for each declared call."""
    return {declaration["call"]: _make(declaration) for declaration in declarations}


def source_of(declaration: Declaration) -> str:
    """The Python source of one call function."""
    name, target = declaration["call"], declaration["target"]
    first = {"queue": ["q"], "model": ["model"], "none": []}[target]
    parameters = [_parameter(p) for p in declaration["parameters"]]
    lists = {p["name"]: f"{name}: argument `{p['name']}`" for p in declaration["parameters"] if _is_list(p["type"])}
    arguments = ", ".join(p["name"] for p in declaration["parameters"])
    where = {"queue": "q.model_name, q.handle", "model": "model.name, None", "none": "None, None"}[target]
    call = f"_host().call({name!r}, {where}, ({arguments}{',' if arguments else ''}))"
    lines = [f"def {name}({', '.join(first + parameters)}):", f"    {declaration['doc']!r}"]
    if target == "queue":
        lines.append("    if type(q) is not _Queue: raise _wrong_queue(q)")
    lines += [
        f"    if type({p}) is not list: {p} = [{p}] if isinstance({p}, int) else _many({p}, {where!r})"
        for p, where in lists.items()
    ]
    if declaration["future"]:
        lines.append(f"    return _Future(_host(), {call}, _convert)")
    else:
        lines.append(f"    return _convert({call})")
    return "\n".join(lines)


def _make(declaration: Declaration) -> Callable[..., Any]:
    scope = {
        "_host": host,
        "_Future": Future,
        "_Queue": Queue,
        "_many": _many,
        "_wrong_queue": _wrong_queue,
        "_convert": _converter(declaration["returns"]),
    }
    code = compile(source_of(declaration), f"<inferlet.{declaration['call']}>", "exec")
    exec(code, scope)
    function: Callable[..., Any] = scope[declaration["call"]]  # type: ignore[assignment]
    function.__module__ = "inferlet"
    return function


def _parameter(parameter: Mapping[str, Any]) -> str:
    return parameter["name"] if parameter["required"] else f"{parameter['name']}={parameter['default']!r}"


def _is_list(kind: str) -> bool:
    return kind.startswith("list<")


def _many(value: Any, where: str) -> Sequence[Any]:
    """A single token, position or handle stands for a list of one."""
    if isinstance(value, int | float | str | bytes):
        return [value]
    try:
        return list(value)
    except TypeError:
        raise ArgumentError(f"{where}: expected a list, got {type(value).__name__}") from None


def _wrong_queue(value: Any) -> ArgumentError:
    return ArgumentError(f"pass a Queue first, as model.create_queue() makes it; got {value!r:.60}")


def _converter(returns: str) -> Callable[[Any], Any]:
    for kind, handle in KINDS.items():
        if returns == f"list<{kind}>":
            return lambda value, handle=handle: [handle(number) for number in value]  # type: ignore[misc]
    return RECORDS.get(returns, lambda value: value)
