"""The page of calls: each of the runtime and of the installed traits."""

from __future__ import annotations

import typing
from collections.abc import Iterable

import msgspec

from pie_core.application.interface import is_future
from pie_core.application.runtime import RUNTIME
from pie_core.command import Call, Command, ControlCall, Query
from pie_core.reference.described import described, own_doc, split_errors, split_names
from pie_core.reference.markdown import code, page, table
from pie_core.schema import ValueType, value_type
from pie_core.trait import Trait

_INTRODUCTION = """
What a program calls, by trait. `q` is a queue, `model` a model. `await` stands where a program waits for a result; a
command without one may be awaited too, for its error. In Python a `MaybeText` is a `str` or `None`, and one handle,
token or position may stand for a list of one.

Bad input is refused by the call itself, before anything has changed; what happens later (on the device, in a child, at
a web server) is raised where the result is awaited. Not repeated below: arguments of the wrong number or type are an
`ArgumentError` that names the call and the argument (in Python a `TypeError` if one is missing); a queue of another
inferlet is a `HandleError`; after the end of the inferlet every call is a `TerminatedError`; a command that depends on
one that failed is a `DeviceError`."""


def calls_page(traits: Iterable[Trait]) -> str:
    """All of them."""
    installed = sorted(traits, key=lambda trait: trait.name)
    return page("Calls", _INTRODUCTION.strip(), *(part for trait in (RUNTIME, *installed) for part in _trait(trait)))


def written(call: type[Call]) -> str:
    """A call as a program writes it."""
    signature = call.signature()
    first = {"queue": ["q"], "model": ["model"], "none": []}[signature.target]
    rest = [p.name if p.required else f"{p.name}={p.default!r}" for p in signature.parameters]
    returns = signature.returns.name
    awaited = is_future(call) and not (issubclass(call, Command) and returns == "none")
    result = "" if returns == "none" else f" -> {returns}"
    return f"{'await ' * awaited}{signature.name}({', '.join(first + rest)}){result}"


def _trait(trait: Trait) -> Iterable[str]:
    yield "## The runtime" if trait is RUNTIME else f"## Trait `{trait.name}` {trait.version}"
    needs = f" It stands on {', '.join(map(code, trait.requires))}." if trait.requires else ""
    yield described(f"trait {trait.name!r}", trait.doc) + needs
    for resource in trait.resources:
        yield f"It brings the resource `{resource.kind}`: {described(resource.__name__, own_doc(resource))}"
    for call in trait.calls:
        yield from _call(call)


def _call(call: type[Call]) -> Iterable[str]:
    signature = call.signature()
    text, errors = split_errors(signature.doc)
    yield f"### `{signature.name}`"
    yield f"```python\n{written(call)}\n```"
    paragraphs, said = split_names(text, [parameter.name for parameter in signature.parameters])
    yield f"{described(signature.name, paragraphs[0])} *{_answered(call)}*"
    yield from paragraphs[1:]
    rows = [
        (
            code(p.name),
            code(p.type.name),
            "" if p.required else code(repr(p.default)),
            _use(p.type) + said.get(p.name, ""),
        )
        for p in signature.parameters
    ]
    yield table(["argument", "type", "default", ""], rows)
    types = (signature.returns, *(parameter.type for parameter in signature.parameters))
    for record in dict.fromkeys(one.record for one in types):
        if record is not None:
            yield _record(record)
    yield table(["error", "for what"], [(code(name), what) for name, what in errors.items()])


def _use(kind: ValueType) -> str:
    return f"({kind.access.value}) " if kind.access is not None else ""


def _record(record: type[msgspec.Struct]) -> str:
    hints = typing.get_type_hints(record, include_extras=True)
    fields = [
        (code(field.name), code(value_type(hints[field.name], field.name).name))
        for field in msgspec.structs.fields(record)
    ]
    return f"`{record.__name__}`: {described(record.__name__, own_doc(record))}\n\n{table(['field', 'type'], fields)}"


def _answered(call: type[Call]) -> str:
    if issubclass(call, Command):
        parts = ["a command"]
        parts += ["of the host"] * (call.place == "host") + ["that runs in steps"] * call.stepwise
        return f"{' '.join(parts).capitalize()}."
    if issubclass(call, Query):
        return "Answered at once, by the backend."
    if issubclass(call, ControlCall):
        return "Answered at once, from the books."
    return "Answered by the server."
