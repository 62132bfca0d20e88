"""A component around a core module, as compilers of C and Rust make them: no further tool is needed.

The module imports functions by the names of the canonical ABI, such as ``output`` of ``pie:core/runtime@1.0.0``, and
exports ``run``, its ``memory`` and ``cabi_realloc``. A lowered import needs the memory of the module that imports it,
so the module is first given stand-ins that jump through a table, which is filled when the real functions exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import wasmtime

from pie_core.application.component import MAGIC, PREAMBLE, leb
from pie_core.application.wasm.core_package import ERROR, STRING, TYPES_PATH
from pie_core.application.wasm.signature import serves
from pie_core.application.wasm.wit import packages
from pie_core.application.wasm.wit_model import (
    Function,
    Interface,
    ListOf,
    OptionOf,
    Plain,
    Record,
    ResultOf,
    WitType,
)
from pie_core.errors import ProgramError, nearest
from pie_core.trait import Trait

CORE_MODULE = MAGIC + b"\x01\0\0\0"
_NEEDED = ("run", "memory", "cabi_realloc")
_MODULE_SECTION = 1
_RUN = ResultOf(OptionOf(STRING), ERROR)
_HINTS = {
    "env": "a function that is declared but nowhere defined; link it in",
    "wasi_snapshot_preview1": "a system call; do without files, stdio and clocks of the C library (use `output`), or "
    "make the component with a tool that has an adapter for WASI 0.1",
}


@dataclass(frozen=True)
class _Import:
    """A function that the module imports: under which names, with which core type, and what it is in WIT."""

    module: str
    name: str
    parameters: str  # of the core function
    results: str
    function: Function


def wrap(module: bytes, traits: Iterable[Trait], who: str) -> bytes:
    """The component. Raises `ProgramError` naming imports that are not known and exports that are missing."""
    parsed = _parse(module, who)
    exports = {export.name for export in parsed.exports}
    missing = [name for name in _NEEDED if name not in exports]
    if missing:
        raise ProgramError(f"{who} does not export {', '.join(missing)}; a module must export {', '.join(_NEEDED)}")
    imports = list(_imports(parsed, traits, who))
    made = bytes(wasmtime.wat2wasm(_wat(imports, exports)))
    return _replace_first_module(made, module)


def _parse(module: bytes, who: str) -> wasmtime.Module:
    try:
        return wasmtime.Module(wasmtime.Engine(), module)
    except wasmtime.WasmtimeError as error:
        raise ProgramError(f"{who} is not a valid WebAssembly module: {error}") from error


def _imports(module: wasmtime.Module, traits: Iterable[Trait], who: str) -> Iterator[_Import]:
    known = {
        package.path(interface).replace("%", ""): interface
        for package in packages(traits)
        for interface in package.interfaces
    }
    wrong = []
    for item in module.imports:
        name = item.name or ""
        interface = _find(item.module, known)
        functions = {} if interface is None else {function.name: function for function in interface.functions}
        if interface is None:
            hint = _HINTS.get(item.module) or f"no interface of an installed trait{nearest(item.module, known)}"
            wrong.append(f"{item.module} {name}: {hint}")
        elif name not in functions or not isinstance(item.type, wasmtime.FuncType):
            wrong.append(f"{item.module} {name}: no such function{nearest(name, functions)}")
        else:
            parameters, results = (" ".join(map(str, types)) for types in (item.type.params, item.type.results))
            yield _Import(item.module, name, parameters, results, functions[name])
    if wrong:
        lines = "".join(f"\n- {line}" for line in wrong)
        raise ProgramError(f"{who} imports what cannot be linked:{lines}")


def _find(name: str, known: Mapping[str, Interface]) -> Interface | None:
    """The interface of this name, or of a later version that serves as well."""
    path, _, version = name.partition("@")
    for each, interface in known.items():
        other, _, installed = each.partition("@")
        if path == other and serves(installed, version):
            return interface
    return None


def _wat(imports: list[_Import], exports: set[str]) -> str:
    """The component with an empty module in place of the program."""
    by_module: dict[str, list[_Import]] = {}
    for each in imports:
        by_module.setdefault(each.module, []).append(each)
    instances = {name: f"$i{number}" for number, name in enumerate(by_module)}
    types = _Instance()
    lines = [
        "(component (core module $program)",
        f'(import "{TYPES_PATH}" (instance $types {types.record(ERROR)}))',
        '(alias export $types "error" (type $error))',
        *(_imported(name, instances[name], used) for name, used in by_module.items()),
        *_stand_ins(imports),
    ]
    places = {each: place for place, each in enumerate(imports)}
    for name, used in by_module.items():
        given = " ".join(f'(export "{each.name}" (func $standins "{places[each]}"))' for each in used)
        lines.append(f"(core instance {instances[name]}given {given})")
    given = " ".join(f'(with "{name}" (instance {instance}given))' for name, instance in instances.items())
    lines += [
        f"(core instance $main (instantiate $program {given}))",
        '(alias core export $main "memory" (core memory $memory))',
        '(alias core export $main "cabi_realloc" (core func $realloc))',
    ]
    options = "(memory $memory) (realloc (core func $realloc)) string-encoding=utf8"
    for each, place in places.items():
        instance = instances[each.module]
        lines.append(f'(core func $l{place} (canon lower (func {instance} "{each.name}") {options}))')
    filled = " ".join(f'(export "{place}" (func $l{place}))' for place in places.values())
    lines.append(
        '(core instance $all (export "table" (table $standins "table")) '
        f'{filled}) (core instance (instantiate $fill (with "" (instance $all))))'
    )
    if "_initialize" in exports:
        lines.append(
            '(core module $start (import "" "_initialize" (func $f)) (start $f)) '
            '(core instance (instantiate $start (with "" (instance $main))))'
        )
    after = '(post-return (core func $main "cabi_post_run"))' if "cabi_post_run" in exports else ""
    lines.append(
        f"(func $run (result {_Instance({ERROR: '$error'}).type(_RUN)}) "
        f'(canon lift (core func $main "run") {options} {after}))'
    )
    return "\n".join([*lines, '(export "run" (func $run)))'])


def _stand_ins(imports: list[_Import]) -> Iterator[str]:
    """The module of stand-ins, and the one that fills their table."""
    count = len(imports)
    yield f'(core module $standins (table (export "table") {count} {count} funcref)'
    for place, each in enumerate(imports):
        given = " ".join(f"local.get {number}" for number in range(len(each.parameters.split())))
        kind = f"(param {each.parameters}) (result {each.results})"
        yield f'(type $t{place} (func {kind})) (func (export "{place}") {kind}'
        yield f"{given} i32.const {place} call_indirect (type $t{place}))"
    yield ") (core instance $standins (instantiate $standins)) (core module $fill"
    for place, each in enumerate(imports):
        yield f'(import "" "{place}" (func $f{place} (param {each.parameters}) (result {each.results})))'
    functions = " ".join(f"$f{place}" for place in range(count))
    yield f'(import "" "table" (table {count} {count} funcref)) (elem (i32.const 0) func {functions}))'


def _imported(name: str, instance: str, used: list[_Import]) -> str:
    types = _Instance()
    functions = []
    for each in used:
        parameters = [f'(param "{label}" {types.type(kind)})' for label, kind in each.function.parameters]
        returns = each.function.returns
        result = "" if returns is None else f"(result {types.type(returns)})"
        functions.append(f'(export "{each.name}" (func {" ".join(parameters)} {result}))')
    return f'(import "{name}" (instance {instance} {" ".join([*types.lines, *functions])}))'


class _Instance:
    """The types of one imported instance: every record gets a name there, as WebAssembly wants it of imports."""

    def __init__(self, names: Mapping[Record, str] | None = None) -> None:
        self.lines: list[str] = []
        self._names = dict(names or {})

    def record(self, record: Record) -> str:
        """The lines that declare it and what it is made of."""
        self.type(record)
        return " ".join(self.lines)

    def type(self, kind: WitType) -> str:
        """A type as component WAT; declares the records in it."""
        match kind:
            case Plain(name):
                return name
            case ListOf(item):
                return f"(list {self.type(item)})"
            case OptionOf(item):
                return f"(option {self.type(item)})"
            case ResultOf(ok, error):
                parts = [self.type(ok)] if ok is not None else []
                parts += [f"(error {self.type(error)})"] if error is not None else []
                return f"(result {' '.join(parts)})"
            case Record():
                return self._names.get(kind) or self._declare(kind)
        raise AssertionError(kind)

    def _declare(self, record: Record) -> str:
        fields = " ".join(f'(field "{name}" {self.type(kind)})' for name, kind in record.fields)
        number = len(self._names)
        self._names[record] = name = f"$n{number}"
        self.lines.append(f'(type $r{number} (record {fields})) (export "{record.name}" (type {name} (eq $r{number})))')
        return name


def _replace_first_module(component: bytes, module: bytes) -> bytes:
    """The component with another module in place of its first, which is its first section."""
    at = len(PREAMBLE)
    assert component[at] == _MODULE_SECTION and component[at + 1] < 0x80, "an empty module is short"
    rest = component[at + 2 + component[at + 1] :]
    return PREAMBLE + bytes([_MODULE_SECTION]) + leb(len(module)) + module + rest
