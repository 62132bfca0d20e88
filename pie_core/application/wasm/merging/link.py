"""Makes one module of several: calls are direct, globals that nobody writes are constants, what is not needed is gone.

Instances of one module that fills its own table from constant places are small: wasmtime makes the record of a function
when it is first called through the table. Of a module that fills another one's table it makes a record for each
function in each instance, beside what it keeps for each import and export.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from pie_core.application.component import leb
from pie_core.application.wasm.merging.binary import NotMergeableError, listed, section, signed_leb, sized
from pie_core.application.wasm.merging.code import (
    END,
    FUNCTION,
    GLOBAL_GET,
    GLOBAL_SET,
    I32_CONST,
    Mention,
    Numbers,
    first_instruction,
    mentions,
    renumbered,
)
from pie_core.application.wasm.merging.module import I32, Kind, Section
from pie_core.application.wasm.merging.parts import Export, Item, Outside, Part, Parts
from pie_core.application.wasm.wrapping import CORE_MODULE

MEMORY = b"memory"
_FUNCTION_NAMES = 1


def link(parts: Sequence[Part], exports: Mapping[Export, bytes]) -> bytes:
    """The parts, in the order of their instantiation, as a module with their memory (`MEMORY`) and these functions.

    It imports `Outside.name` from the module "". Raises `NotMergeableError`.
    """
    return _Linker(Parts(parts), exports).link()


class _Linker:
    def __init__(self, parts: Parts, exports: Mapping[Export, bytes]) -> None:
        self._parts = parts
        self._exports = exports
        self._types: dict[bytes, int] = {}
        self._bodies: dict[Item, list[Mention]] = {}  # of functions that can be called
        self._outside: dict[Outside, None] = {}
        self._written: set[Item] = set()

    def link(self) -> bytes:
        """See `link`."""
        exported = {name: self._parts.exported(export) for export, name in self._exports.items()}
        self._reach([*exported.values(), *self._parts.table.values()])
        inside = sorted(self._bodies)
        self._functions = {each: number for number, each in enumerate([*self._outside, *inside])}
        self._globals = self._kept_globals()
        code = [sized(self._body(item)) for item in inside]
        sections = {
            Section.IMPORT: [self._import(each) for each in self._outside],
            Section.FUNCTION: [leb(self._type(self._parts.function_type(item))) for item in inside],
            Section.TABLE: self._only("tables"),
            Section.MEMORY: self._only("memories"),
            Section.GLOBAL: [self._global(item) for item in self._globals],
            Section.EXPORT: [
                sized(MEMORY) + bytes([Kind.MEMORY, 0]),
                *[sized(name) + bytes([Kind.FUNCTION]) + leb(self._functions[item]) for name, item in exported.items()],
            ],
            Section.ELEMENT: [self._elements(start, run) for start, run in _runs(self._parts.table)],
            Section.CODE: code,
            Section.DATA: list(self._data()),
        }
        contents = [(Section.TYPE, listed(self._types)), *[(number, listed(each)) for number, each in sections.items()]]
        return b"".join([CORE_MODULE, *[section(number, content) for number, content in contents], self._names()])

    def _reach(self, begin: Iterable[Item | Outside]) -> None:
        """Find all functions that can be called, and the globals they write."""
        found = list(begin)
        while found:
            item = found.pop()
            if isinstance(item, Outside):
                self._outside[item] = None
            elif item not in self._bodies:
                module = self._parts.modules[item.part]
                start, end = module.bodies[item.number]
                named = list(mentions(module.binary, first_instruction(module.binary, start), end))
                self._bodies[item] = named
                found += [self._parts.function(item.part, each.number) for each in named if each.what == FUNCTION]
                written = (each.number for each in named if each.what == GLOBAL_SET)
                self._written.update(self._parts.global_of(item.part, number) for number in written)

    def _kept_globals(self) -> dict[Item, int]:
        """Numbers of those that are no constants."""
        used = set(self._written)
        for item, named in self._bodies.items():
            used.update(self._parts.global_of(item.part, each.number) for each in named if each.what == GLOBAL_GET)
        return {each: number for number, each in enumerate(sorted(filter(self._is_kept, used)))}

    def _is_kept(self, item: Item) -> bool:
        return item in self._written or self._parts.definition(item).type[0] != I32

    def _body(self, item: Item) -> bytes:
        part = item.part
        module, named = self._parts.modules[part], self._bodies[item]
        globals_ = {each.number for each in named if each.what in (GLOBAL_GET, GLOBAL_SET)}
        found = {number: self._parts.global_of(part, number) for number in globals_}
        numbers = Numbers(
            lambda number: self._functions[self._parts.function(part, number)],
            lambda number: self._type(module.types[number]),
            {number: self._globals[each] for number, each in found.items() if each in self._globals},
            {number: self._value(each) for number, each in found.items() if each not in self._globals},
        )
        return renumbered(module.binary, *module.bodies[item.number], named, numbers)

    def _value(self, item: Item) -> int:
        return self._parts.constant(item.part, self._parts.definition(item).start)

    def _type(self, kind: bytes) -> int:
        return self._types.setdefault(kind, len(self._types))

    def _import(self, outside: Outside) -> bytes:
        return sized(b"") + sized(outside.name) + bytes([Kind.FUNCTION]) + leb(self._type(outside.type))

    def _only(self, what: str) -> list[bytes]:
        """The table or memory that one of the parts defines for all."""
        found = [each for module in self._parts.modules for each in getattr(module, what)]
        if len(found) != 1:
            raise NotMergeableError(f"{len(found)} {what}")
        return found

    def _global(self, item: Item) -> bytes:
        definition = self._parts.definition(item)
        if definition.type[0] == I32:
            return definition.type + bytes([I32_CONST]) + signed_leb(self._value(item)) + bytes([END])
        return definition.type + self._parts.modules[item.part].binary[definition.start : definition.end]

    def _elements(self, start: int, functions: Sequence[Item | Outside]) -> bytes:
        return _at(start) + listed([leb(self._functions[each]) for each in functions])

    def _data(self) -> Iterator[bytes]:
        for part, module in enumerate(self._parts.modules):
            for each in module.data:
                yield _at(self._parts.constant(part, each.start)) + sized(each.content)

    def _names(self) -> bytes:
        """Of functions, for the backtraces of traps."""
        named = [
            (number, name)
            for item, number in self._functions.items()
            if isinstance(item, Item) and (name := self._parts.name(item))
        ]
        names = listed([leb(number) + sized(name) for number, name in named])
        return section(Section.CUSTOM, sized(b"name") + section(_FUNCTION_NAMES, names))


def _at(place: int) -> bytes:
    """The beginning of an active segment."""
    return bytes([0, I32_CONST]) + signed_leb(place) + bytes([END])


def _runs(table: Mapping[int, Item | Outside]) -> Iterator[tuple[int, list[Item | Outside]]]:
    """What adjoins in the table."""
    for _, adjoining in groupby(enumerate(sorted(table)), lambda each: each[1] - each[0]):
        places = [place for _, place in adjoining]
        yield places[0], [table[place] for place in places]
