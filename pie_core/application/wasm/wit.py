"""WIT packages of the runtime and of traits, generated from their declarations; the world of an inferlet.

A call that is answered at once is one function. A call with a future is a function that returns its ticket (u64) and,
if there is something to bring, a function `NAME-result` that takes it. First parameters by target: a queue is
``q: u32``, a model its name. Handles are u32. All parameters are passed always: defaults are the business of SDKs.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from packaging.version import Version

from pie_core.application.interface import is_future
from pie_core.application.runtime import RUNTIME
from pie_core.application.wasm.core_package import (
    BYTES,
    CORE,
    ERROR,
    MASK,
    OUTPUT,
    SOURCE,
    STRING,
    TICKETS,
    TYPES,
    TYPES_PATH,
    U32,
    U64,
    VERSION,
)
from pie_core.application.wasm.wit_model import (
    Function,
    Interface,
    ListOf,
    OptionOf,
    Package,
    Plain,
    Record,
    ResultOf,
    WitType,
    identifier,
)
from pie_core.command import Call, Signature
from pie_core.errors import ConfigError, DeclarationError
from pie_core.schema import ValueType, value_type
from pie_core.trait import Trait

WORLD = "inferlet"
_SCALARS = {*(f"{sign}{bits}" for sign in "us" for bits in (8, 16, 32, 64)), "f32", "f64", "bool", "string"}
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_RESERVED = frozenset({"core", WORLD, RUNTIME.name, TYPES.name, TICKETS.name, SOURCE.name})
_PRE_RELEASES = {"a": "alpha", "b": "beta", "rc": "rc"}


def package_of(trait: Trait) -> Package:
    """The package of a trait; of `RUNTIME`, the whole of ``pie:core``.

    Raises `DeclarationError`, naming trait and call, for what cannot be put in WIT.
    """
    if trait is RUNTIME:
        runtime = _Translation(trait, "types").interface(OUTPUT)
        return Package(CORE, VERSION, (TYPES, TICKETS, SOURCE, runtime))
    name = kebab(trait.name, f"trait {trait.name!r}: its name")
    if name in _RESERVED:
        raise DeclarationError(f"trait {trait.name!r}: the name is pie-core's own; give the trait another one")
    return Package(f"pie:{name}", _version(trait), (_Translation(trait, TYPES_PATH).interface(),))


def packages(traits: Iterable[Trait]) -> list[Package]:
    """``pie:core`` and the packages of `traits`, each after those it uses. Raises as `package_of`."""
    return [package_of(RUNTIME), *map(package_of, traits)]


def world(traits: Iterable[Trait], name: str = WORLD, source: bool = False) -> str:
    """The world of inferlets that use `traits`: one root package, ``pie:inferlet``.

    source: import the interface `source` too, as an interpreter does. Raises as `package_of`; `ConfigError` for a
    name that is not kebab-case.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"world {name!r}: a name is lower-case words joined by `-`")
    core, *others = packages(traits)
    wanted = [i for i in core.interfaces if i is not TYPES and (source or i is not SOURCE)]
    paths = [*map(core.path, wanted), *(package.path(package.interface) for package in others)]
    imports = "".join(f"  import {path};\n" for path in paths)
    returns = ResultOf(OptionOf(STRING), ERROR)
    run = Function("run", (), returns, "The program. The text it returns, if any, is what its client gets.")
    return (
        f"package pie:{WORLD};\n\n"
        f"world {identifier(name)} {{\n"
        f"  use {TYPES_PATH}.{{{ERROR.name}}};\n\n{imports}\n"
        f"{run.declaration.replace('  run', '  export run')}}}\n"
    )


def write(directory: Path, traits: Iterable[Trait], name: str = WORLD, source: bool = False) -> list[Path]:
    """Write the world as ``NAME.wit`` and what it imports under ``deps/``; the files, the world first.

    Files of these names are replaced, others left alone. Raises as `world`, and `ConfigError` if `directory` cannot be
    written.
    """
    chosen = list(traits)
    files = {directory / f"{name}.wit": world(chosen, name, source)}
    for package in packages(chosen):
        short = package.name.removeprefix("pie:")
        files[directory / "deps" / short / f"{short}.wit"] = package.text
    for path, text in files.items():
        write_text(path, text)
    return list(files)


def write_text(path: Path, text: str) -> None:
    """Write a generated file and the folders above it. Raises `ConfigError` if that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}") from error


def kebab(name: str, where: str) -> str:
    """``GetNextDist`` and ``get_next_dist`` -> ``get-next-dist``. Raises `DeclarationError` if WIT has no such name."""
    found = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).replace("_", "-").lower()
    if not _NAME.fullmatch(found):
        raise DeclarationError(f"{where}: {name!r} has no form in WIT; name it in words of a-z and 0-9")
    return found


class _Translation:
    """The declarations of one trait on their way to one interface; collects the records on the way."""

    def __init__(self, trait: Trait, uses_from: str) -> None:
        self._trait = trait
        self._uses_from = uses_from
        self._records: dict[type[msgspec.Struct], Record] = {}
        self._open: list[type[msgspec.Struct]] = []  # records whose fields are being read
        self._uses: dict[str, Record] = {}

    def interface(self, *more: Function) -> Interface:
        """The interface; `more` are functions that no call declares."""
        functions = [function for call in self._trait.calls for function in self._functions(call)]
        if functions or more:
            self._uses.setdefault(ERROR.name, ERROR)
        made = Interface(
            kebab(self._trait.name, f"trait {self._trait.name!r}: its name"),
            self._trait.doc,
            tuple(self._records.values()),
            (*functions, *more),
            tuple(self._uses[name] for name in sorted(self._uses)),
            self._uses_from,
        )
        self._check_unique(made)
        return made

    def _check_unique(self, made: Interface) -> None:
        trait = f"trait {self._trait.name!r}"
        _refuse_twins(
            [record.name for record in (*made.uses, *made.records)] + [function.name for function in made.functions],
            f"{trait} (calls, their `-result` functions, records and `error` share one name space)",
        )
        for function in made.functions:
            _refuse_twins([name for name, _ in function.parameters], f"{trait}, call {function.call!r}, its parameters")
        for record in made.records:
            _refuse_twins([name for name, _ in record.fields], f"{trait}, the fields of {record.name!r}")

    def _functions(self, call: type[Call]) -> Iterator[Function]:
        signature = call.signature()
        where = f"trait {self._trait.name!r}, call {signature.name!r}"
        name = kebab(signature.name, where)
        parameters = tuple(self._parameters(signature, where))
        doc = inspect.cleandoc(signature.doc)
        returns = None if signature.returns.name == "none" else self._type(signature.returns, f"{where}, its result")
        if not is_future(call):
            yield Function(name, parameters, ResultOf(returns, ERROR), doc, signature.name)
            return
        yield Function(name, parameters, ResultOf(U64, ERROR), doc, signature.name, "ticket")
        if returns is not None:
            taken = f"What the ticket of a `{name}` brought; suspends until it is there. Done with then."
            result = ResultOf(returns, ERROR)
            yield Function(f"{name}-result", (("ticket", U64),), result, taken, signature.name, "result")

    def _parameters(self, signature: Signature, where: str) -> Iterator[tuple[str, WitType]]:
        if signature.target == "queue":
            yield "q", U32
        elif signature.target == "model":
            yield "model", STRING
        for parameter in signature.parameters:
            at = f"{where}, parameter {parameter.name!r}"
            yield kebab(parameter.name, at), self._type(parameter.type, at)

    def _type(self, kind: ValueType, where: str) -> WitType:
        return self._named(kind.name, kind, where)

    def _named(self, name: str, kind: ValueType, where: str) -> WitType:
        """The type called `name`: that of `kind`, or of what it is made of."""
        if made := re.fullmatch(r"(list|option)<(.+)>", name):
            item = self._named(made[2], kind, where)
            return ListOf(item) if made[1] == "list" else OptionOf(item)
        if name in _SCALARS:
            return Plain(name)
        if name == "bytes":
            return BYTES
        if name == "mask":
            return self._uses.setdefault(MASK.name, MASK)
        if kind.resource is not None and name == kind.resource.kind:
            return U32
        if kind.record is not None and name == kind.record.__name__:
            return self._record(kind.record, where)
        raise DeclarationError(f"{where}: {kind.name!r} cannot be put in WIT")

    def _record(self, struct: type[msgspec.Struct], where: str) -> Record:
        if struct in self._records:
            return self._records[struct]
        if struct in self._open:
            raise DeclarationError(f"{where}: {struct.__name__} holds itself, which WIT cannot say")
        self._open.append(struct)
        fields = tuple(self._fields(struct, where))
        self._open.pop()
        if not fields:
            raise DeclarationError(f"{where}: {struct.__name__} has no fields, which WIT cannot say")
        doc = inspect.cleandoc(struct.__doc__ or "")
        self._records[struct] = record = Record(kebab(struct.__name__, where), fields, doc)
        return record

    def _fields(self, struct: type[msgspec.Struct], where: str) -> Iterator[tuple[str, WitType]]:
        hints = typing.get_type_hints(struct, include_extras=True)
        for field in msgspec.structs.fields(struct):
            at = f"{where}, {struct.__name__}.{field.name}"
            yield kebab(field.name, at), self._type(value_type(hints[field.name], at), at)


def _refuse_twins(names: Iterable[str], where: str) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise DeclarationError(f"{where}: {count} things are named {name!r} in WIT; rename all but one")


def _version(trait: Trait) -> str:
    """``1.2`` -> ``1.2.0``, ``2.0rc1`` -> ``2.0.0-rc.1``."""
    version = Version(trait.version)
    numbers = [*version.release, 0, 0][: max(3, len(version.release))]
    if len(numbers) > 3 or version.epoch or version.is_postrelease or version.is_devrelease or version.local:
        raise DeclarationError(
            f"trait {trait.name!r}: version {trait.version} has no form in WIT; use MAJOR.MINOR.PATCH, or a pre-release"
        )
    pre = f"-{_PRE_RELEASES[version.pre[0]]}.{version.pre[1]}" if version.pre else ""
    return ".".join(map(str, numbers)) + pre
