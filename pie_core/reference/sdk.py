"""The page of the SDK: what a program in Python imports from `inferlet`, but for the calls and the errors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import inferlet
from inferlet import calls

from pie_core.reference.described import described, own_doc
from pie_core.reference.markdown import code, page, table

_INTRODUCTION = """
What the module `inferlet` has for programs in Python besides the [calls](calls.md) of the traits and the
[errors](errors.md): a library of ordinary code on top of these. Its source is `inferlets/sdk/inferlet`.

What a `Context` generates with is made by the functions below, or is a function of yours: a `Sampler` gets a `Dist` and
gives the token; a `Stop` gets the tokens and the text of the answer so far, and True ends it; a `Constraint` gets a
`Dist` and the tokens of the answer so far, and gives the `Dist` to draw from; a `Drafter` gets all tokens so far, and
gives some that may follow."""


def sdk_page() -> str:
    """All of it, `Context` first."""
    everything = {name: getattr(inferlet, name) for name in sorted(inferlet.__all__)}
    ours = {name: value for name, value in everything.items() if _is_ours(name, value)}
    functions = [_row(name, value) for name, value in ours.items() if not inspect.isclass(value)]
    classes = [value for value in ours.values() if inspect.isclass(value) and value is not inferlet.Context]
    return page(
        "SDK",
        _INTRODUCTION.strip(),
        *_class(inferlet.Context),
        "## Functions",
        table(["function", ""], functions),
        *(part for one in classes for part in _class(one)),
    )


def written(name: str, function: Callable[..., Any]) -> str:
    """A function of it as a program writes it, with the types."""
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name not in ("self", "cls")]
    awaited = "await " if inspect.iscoroutinefunction(function) else ""
    each = "async for ... in " if inspect.isasyncgenfunction(function) else ""
    returns = function.__annotations__.get("return", "None")
    result = "" if returns == "None" or each else f" -> {returns}"
    return f"{awaited}{each}{name}({', '.join(map(_parameter, parameters))}){result}"


def _is_ours(name: str, value: Any) -> bool:
    """Whether the SDK has written it down. The calls come to the module when a program runs in this process."""
    if inspect.isclass(value):
        return not issubclass(value, Exception)
    return inspect.isfunction(value) and vars(calls).get(name) is not value


def _class(declared: type) -> Iterator[str]:
    yield f"## `{declared.__name__}`"
    yield described(declared.__name__, own_doc(declared))
    fields = [f"`{name}: {kind}`" for name, kind in _annotated(declared).items() if not name.startswith("_")]
    yield f"Fields: {', '.join(fields)}." if fields else ""
    yield table(["method", ""], _methods(declared))


def _annotated(declared: type) -> dict[str, Any]:
    return {name: kind for name, kind in inspect.get_annotations(declared).items() if "ClassVar" not in str(kind)}


def _methods(declared: type) -> Iterator[tuple[str, str]]:
    for name, value in vars(declared).items():
        if name.startswith("_"):
            continue
        if isinstance(value, property):
            yield code(name), described(name, value.__doc__)
        elif inspect.isfunction(function := getattr(value, "__func__", value)):
            yield _row(f"{declared.__name__}.{name}" if function is not value else name, function)


def _row(name: str, function: Callable[..., Any]) -> tuple[str, str]:
    return code(written(name, function)), described(name, function.__doc__)


def _parameter(parameter: inspect.Parameter) -> str:
    stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
    default = "" if parameter.default is inspect.Parameter.empty else f" = {parameter.default!r}"
    return f"{stars}{parameter.name}: {parameter.annotation}{default}"
