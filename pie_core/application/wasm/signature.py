"""Whether a component's imports are what the installed traits declare. What is not, is told in one message.

wasmtime calls a host function with whatever types the guest declared, so nothing may be linked that was not checked
here. Record names are not compared: a component does not tell them. Nor does wasmtime-py tell an `async func` from a
plain one: engines for inferlets are made without concurrency support, which refuses those, futures and streams.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from wasmtime import Engine
from wasmtime import component as wasm

from pie_core.application.wasm.core_package import CORE
from pie_core.application.wasm.reflection import reflect
from pie_core.application.wasm.wit import packages
from pie_core.application.wasm.wit_model import Function, Interface, Package
from pie_core.errors import TraitError, nearest
from pie_core.plugins import install_hint
from pie_core.trait import Trait

MAX_PROBLEMS = 50  # told in one message

_PATH = re.compile(r"(?P<package>[^:/@]+:[^:/@]+)/(?P<interface>[^:/@]+)(@(?P<version>.+))?")
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class Item(Protocol):
    """An entry of `component.type.imports(engine)`: wasmtime's `ComponentExtern`."""

    @property
    def ty(self) -> object:
        """One of the type classes of `wasmtime.component`."""


@dataclass(frozen=True)
class Import:
    """One interface to link. `functions` are those that the component imports, in the trait's order; maybe none."""

    name: str  # as the component has it, with the version it was built against
    package: Package = field(repr=False)
    interface: Interface = field(repr=False)
    functions: tuple[Function, ...]


def check_imports(
    imports: Mapping[str, Item],
    engine: Engine,
    traits: Iterable[Trait],
    who: str = "the component",
    problems: Mapping[str, str] | None = None,
) -> list[Import]:
    """What to link for the imports of a component, in their order. Those of WASI are not looked at.

    imports: `component.type.imports(engine)`. problems: why traits that are installed cannot be used, by name.
    Raises one `TraitError` that tells all that is wrong, and `DeclarationError` as `wit.packages`.
    """
    check = _Check({package.name: package for package in packages(traits)}, engine, problems or {})
    linked = [found for name, item in imports.items() if (found := check.look(name, item)) is not None]
    if check.wrong:
        shown = check.wrong[:MAX_PROBLEMS]
        more = len(check.wrong) - len(shown)
        lines = [f"\n- {problem}" for problem in shown] + ([f"\n- and {more} more"] if more else [])
        raise TraitError(f"{who} imports what this server does not have:{''.join(lines)}")
    return linked


class _Check:
    """The look at one component: the installed packages, and what was found wrong so far."""

    def __init__(self, installed: Mapping[str, Package], engine: Engine, problems: Mapping[str, str]) -> None:
        self._installed = installed
        self._engine = engine
        self._problems = problems
        self.wrong: list[str] = []

    def look(self, name: str, item: Item) -> Import | None:
        """The import to link; None for one of WASI and one that is wrong."""
        kind, path = item.ty, _PATH.fullmatch(name)
        if path is not None and name.startswith("wasi:"):
            return None
        if path is None or not isinstance(kind, wasm.ComponentInstanceType):
            self.wrong.append(f"{name}: not an interface; a component may import interfaces of `pie:` and `wasi:` only")
            return None
        found = self._find(name, path)
        if found is None:
            return None
        package, interface = found
        return Import(name, package, interface, tuple(self._functions(name, kind, package, interface)))

    def _find(self, name: str, path: re.Match[str]) -> tuple[Package, Interface] | None:
        package = self._installed.get(path["package"])
        if package is None:
            self.wrong.append(f"{name}: {self._missing(path)}")
            return None
        interfaces = {interface.name: interface for interface in package.interfaces}
        if path["interface"] not in interfaces:
            self.wrong.append(
                f"{name}: {_title(package)} has no interface {path['interface']!r}"
                f"{nearest(path['interface'], interfaces)}"
            )
            return None
        if not serves(package.version, path["version"] or ""):
            self.wrong.append(
                f"{name}: {_title(package)} {path['version'] or 'without a version'} is needed, {package.version} is "
                f"installed; build the component against that one (`pie-core wit`) or install the other"
            )
            return None
        return package, interfaces[path["interface"]]

    def _missing(self, path: re.Match[str]) -> str:
        namespace, short = path["package"].split(":")
        if namespace != "pie":
            return "an unknown interface; a component may import interfaces of `pie:` and `wasi:` only"
        trait = short.replace("-", "_")
        if trait in self._problems:
            return f"trait {trait} cannot be used: {self._problems[trait]}"
        return f"trait {trait} is not installed; {install_hint('traits', trait)}"

    def _functions(
        self, name: str, instance: wasm.ComponentInstanceType, package: Package, interface: Interface
    ) -> Iterator[Function]:
        wanted = {label: item.ty for label, item in instance.exports(self._engine).items()}
        declared = {function.name: function for function in interface.functions}
        for label, kind in wanted.items():
            if isinstance(kind, wasm.ValType):
                continue  # its structure is compared where functions use it
            if label not in declared:
                what = f"{_title(package)} {package.version} has no {_kind(kind)} {label!r}"
                self.wrong.append(f"{name}: {what}{nearest(label, declared)}")
            elif isinstance(kind, wasm.FuncType):
                self._compare(name, kind, declared[label], package)
            else:
                self.wrong.append(f"{name}: {label!r} is a function, not a {_kind(kind)}")
        yield from (function for function in interface.functions if function.name in wanted)

    def _compare(self, name: str, kind: wasm.FuncType, declared: Function, package: Package) -> None:
        try:
            wanted = reflect(declared.name, kind).signature(named=False)
        except ValueError as error:
            self.wrong.append(f"{name}: function {declared.name!r} cannot be linked: {error}")
            return
        if wanted != declared.signature(named=False):
            self.wrong.append(
                f"{name}: function {declared.name!r} has another signature\n"
                f"    the component has  {wanted}\n"
                f"    {_title(package)} {package.version} has  {declared.signature(named=False)}"
            )


def serves(installed: str, needed: str) -> bool:
    """Whether a component built against version `needed` works with version `installed`, as semantic versions say.

    The same major version (below 1.0.0: the same minor, below 0.1.0: the same patch) and not older; a pre-release only
    serves itself.
    """
    if installed == needed:
        return True
    have, want = _VERSION.fullmatch(installed), _VERSION.fullmatch(needed)
    if have is None or want is None:
        return False
    new, old = [tuple(map(int, match.groups())) for match in (have, want)]
    fixed = next((place for place, number in enumerate(old) if number), 2) + 1
    return new >= old and new[:fixed] == old[:fixed]


def _trait(package: Package) -> str:
    return package.name.removeprefix("pie:").replace("-", "_")


def _title(package: Package) -> str:
    return package.name if package.name == CORE else f"trait {_trait(package)}"


def _kind(item: object) -> str:
    return "function" if isinstance(item, wasm.FuncType) else "resource or nested item"
