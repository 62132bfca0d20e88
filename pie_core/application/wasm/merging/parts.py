"""Modules that are instantiated once each and import from each other: what a number in one of them means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pie_core.application.wasm.merging.binary import Cursor, NotMergeableError
from pie_core.application.wasm.merging.code import END, GET_GLOBAL, I32_CONST
from pie_core.application.wasm.merging.module import Global, Kind, Module

_LEB = rb"[\x80-\xff]*[\x00-\x7f]"
_JUMP = re.compile(rb"\x00((?:\x20[\x00-\x7f])*)\x41(" + _LEB + rb")\x11(" + _LEB + rb")\x00\x0b", re.DOTALL)
_I32_ADD = 0x6A


@dataclass(frozen=True, slots=True)
class Export:
    """What a part exports under a name."""

    part: int
    name: bytes


@dataclass(frozen=True, slots=True)
class Outside:
    """A function that no part exports, under a name of its own; `type` is that of who imports it."""

    name: bytes
    type: bytes = b""


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """A function or a global of a part, by its number among those that the part defines."""

    part: int
    number: int


@dataclass(frozen=True)
class Part:
    """A module and what it gets for each of its imports."""

    module: Module
    bindings: Mapping[tuple[bytes, bytes], Export | Outside]


class Parts:
    """In the order in which they are instantiated."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.modules = [part.module for part in parts]
        self._bindings = [part.bindings for part in parts]
        self.table: dict[int, Item | Outside] = {}  # what the parts put into the table, by its place there
        self._direct: dict[tuple[int, int], Item | Outside] = {}
        for number, module in enumerate(self.modules):
            for each in module.elements:
                start = self.constant(number, each.start)
                for place, function in enumerate(each.functions, start):
                    self.table[place] = self._resolve(number, Kind.FUNCTION, function)

    def exported(self, export: Export) -> Item | Outside:
        """The function behind an export."""
        kind, number = self.modules[export.part].exports[export.name]
        if kind != Kind.FUNCTION:
            raise NotMergeableError(f"a {kind.name.lower()} that is used outside")
        return self.function(export.part, number)

    def function(self, part: int, number: int) -> Item | Outside:
        """What a part calls by this number."""
        key = part, number
        if key not in self._direct:
            self._direct[key] = self._resolve(part, Kind.FUNCTION, number)  # ends a ring of jumps
            self._direct[key] = self._target(self._direct[key])
        return self._direct[key]

    def global_of(self, part: int, number: int) -> Item:
        """What a part reads or writes by this number."""
        found = self._resolve(part, Kind.GLOBAL, number)
        if isinstance(found, Outside):
            raise NotMergeableError("a global that comes from outside")
        return found

    def definition(self, item: Item) -> Global:
        """Of a global."""
        return self.modules[item.part].globals[item.number]

    def function_type(self, item: Item | Outside) -> bytes:
        """Of a function."""
        if isinstance(item, Outside):
            return item.type
        module = self.modules[item.part]
        return module.types[module.functions[item.number]]

    def name(self, item: Item) -> bytes:
        """Of a function, as its part calls it; empty if it does not."""
        module = self.modules[item.part]
        return module.names.get(item.number + len(module.imports[Kind.FUNCTION]), b"")

    def constant(self, part: int, start: int) -> int:
        """The value of an expression of a part when it is instantiated, of 32 bits with a sign."""
        cursor = Cursor(self.modules[part].binary, start)
        stack: list[int] = []
        while (opcode := cursor.byte()) != END:
            if opcode == I32_CONST:
                stack.append(cursor.signed())
            elif opcode == GET_GLOBAL:
                item = self.global_of(part, cursor.number())
                stack.append(self.constant(item.part, self.definition(item).start))
            elif opcode == _I32_ADD:
                stack.append(stack.pop() + stack.pop())
            else:
                raise NotMergeableError(f"the instruction {opcode:#x} where a number of 32 bits is wanted")
        return (stack.pop() + (1 << 31)) % (1 << 32) - (1 << 31)

    def _resolve(self, part: int, kind: Kind, number: int) -> Item | Outside:
        module = self.modules[part]
        imports = module.imports[kind]
        if number >= len(imports):
            return Item(part, number - len(imports))
        wanted = imports[number]
        bound = self._bindings[part][wanted.module, wanted.name]
        if isinstance(bound, Outside):
            assert isinstance(wanted.type, int), "only functions come from outside"
            return Outside(bound.name, module.types[wanted.type])
        found, number = self.modules[bound.part].exports[bound.name]
        if found != kind:
            raise NotMergeableError(f"the import of a {kind.name.lower()} that is a {found.name.lower()}")
        return self._resolve(bound.part, kind, number)

    def _target(self, item: Item | Outside) -> Item | Outside:
        """Where a function leads that only passes its arguments on to one in the table: that is how dynamically linked
        modules call what is defined behind them. The table stays as the modules fill it: no body that writes to it is
        accepted."""
        if isinstance(item, Outside):
            return item
        module = self.modules[item.part]
        jump = _JUMP.fullmatch(module.binary, *module.bodies[item.number])
        if jump is None:
            return item
        arguments, place, kind = jump.groups()
        own = self.function_type(item)
        count = Cursor(own, 1).number()
        target = self.table.get(Cursor(place).signed())
        passed = arguments == bytes(byte for number in range(count) for byte in (0x20, number))
        if not passed or target is None or module.types[Cursor(kind).number()] != own:
            return item
        if self.function_type(target) != own:
            return item
        return self._target(target)
