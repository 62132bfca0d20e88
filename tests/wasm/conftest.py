"""Traits to translate, and components to check, written as component WAT from WIT types."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from wasmtime import Config, Engine
from wasmtime.component import Component

from pie_core import Trait
from pie_core.application.wasm.wit_model import Function, ListOf, OptionOf, Plain, Record, ResultOf, WitType
from pie_core.command import Call
from pie_core.plugins import Selection
from pie_core.registry import load_registry


@pytest.fixture(scope="session")
def traits() -> list[Trait]:
    """The installed traits."""
    return list(load_registry(Selection()).traits.values())


@pytest.fixture(scope="session")
def engine() -> Engine:
    """Where components are compiled."""
    return Engine(Config())


@pytest.fixture
def trait() -> Callable[..., Trait]:
    """`trait(Call, ..., name=..., version=...)`."""

    def make(*calls: type[Call], name: str = "acme", version: str = "1.0.0") -> Trait:
        return Trait(name=name, version=version, doc="Of acme.", calls=calls)

    return make


@pytest.fixture
def imports(engine: Engine) -> Callable[..., object]:
    """`imports(wat)`: what wasmtime says of the imports of a component with these lines."""
    return lambda *lines: Component(engine, f"(component {' '.join(lines)})").type.imports(engine)


class InstanceWat:
    """Component WAT of an import: every record gets a name, as wasmtime wants it of imports."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: list[str] = []
        self._types: dict[Record, str] = {}

    def wat(self, functions: Iterable[Function]) -> str:
        for function in functions:
            parameters = [f'(param "{name}" {self._type(kind)})' for name, kind in function.parameters]
            result = [f"(result {self._type(function.returns)})"] if function.returns is not None else []
            self._lines.append(f'(export "{function.name}" (func {" ".join([*parameters, *result])}))')
        return f'(import "{self._name}" (instance {" ".join(self._lines)}))'

    def _type(self, kind: WitType | None) -> str:
        match kind:
            case Plain(name):
                return name
            case ListOf(item):
                return f"(list {self._type(item)})"
            case OptionOf(item):
                return f"(option {self._type(item)})"
            case ResultOf(ok, error):
                parts = [self._type(ok)] if ok is not None else []
                parts += [f"(error {self._type(error)})"] if error is not None else []
                return f"(result {' '.join(parts)})"
            case Record():
                return self._record(kind)
        raise AssertionError(kind)

    def _record(self, record: Record) -> str:
        if record not in self._types:
            fields = " ".join(f'(field "{name}" {self._type(kind)})' for name, kind in record.fields)
            own, name = f"$r{len(self._types)}", f"$n{len(self._types)}"
            self._lines += [f"(type {own} (record {fields}))", f'(export "{record.name}" (type {name} (eq {own})))']
            self._types[record] = name
        return self._types[record]


@pytest.fixture
def wat() -> Callable[[str, Iterable[Function]], str]:
    """`wat(name, functions)`: the line of component WAT that imports these functions under this name."""
    return lambda name, functions: InstanceWat(name).wat(functions)
