"""Merges the core modules of a component that share a memory into one.

componentize-py links CPython, the C library and its own runtime dynamically, as some ten modules that import functions
and globals from each other. That costs each instance hundreds of KiB, and time in each call between them. Modules with
a table but no memory are left: through them the imports of the component are called, which can be made only when there
is a memory.

All of the component that is not about core modules stays as it is; of the rest what is needed is written anew.
"""

from __future__ import annotations

from collections import Counter

from pie_core.application.component import PREAMBLE, leb
from pie_core.application.wasm.merging.binary import NotMergeableError, listed, section, sized
from pie_core.application.wasm.merging.component import (
    CORE,
    EXPORT_OF_CORE,
    INLINE,
    INSTANCE,
    INSTANTIATE,
    LIFT,
    LOWER,
    MEMORY_OPTION,
    Alias,
    Canon,
    Component,
    Inline,
    Instantiation,
    Section,
    read_component,
)
from pie_core.application.wasm.merging.link import MEMORY, link
from pie_core.application.wasm.merging.module import Kind, Module, read_module
from pie_core.application.wasm.merging.parts import Export, Outside, Part

_MERGED = 0  # the number of the merged module


def merge(binary: bytes) -> bytes:
    """The component with fewer modules. Raises `NotMergeableError`: it has something that is not known here."""
    return _Merge(read_component(binary)).write()


class _Merge:
    """Numbers of the new component are made when they are first needed, each behind those that it needs itself."""

    def __init__(self, old: Component) -> None:
        self._old = old
        modules = [read_module(module) for module in old.modules]
        merged = [
            (number, made)
            for number, made in enumerate(old.instances)
            if isinstance(made, Instantiation) and not _is_left(modules[made.module])
        ]
        together = {made.module for _, made in merged}
        if len(together) < len(merged):
            raise NotMergeableError("a module with several instances")
        self._part = {number: part for part, (number, _) in enumerate(merged)}  # by the number of the instance
        self._outside: dict[Alias | int, bytes] = {}  # what the parts import from elsewhere, and a name for it
        self._exports: dict[Export, bytes] = {}  # what is needed of the parts, and a name for it
        self._parts = [Part(modules[made.module], self._bindings(modules[made.module], made)) for _, made in merged]
        left = [number for number in range(len(modules)) if number not in together]
        self._modules = {number: new for new, number in enumerate(left, _MERGED + 1)}
        self._sections: list[tuple[int, bytes]] = []
        self._counts: Counter[str] = Counter()
        self._instances: dict[int, int] = {}  # new numbers by old ones
        self._items: dict[tuple[Kind, Alias | int], int] = {}  # new numbers by origin
        self._merged: int | None = None  # the merged instance's number

    def write(self) -> bytes:
        """The new component."""
        for number, made in enumerate(self._old.instances):
            if isinstance(made, Instantiation) and number not in self._part:
                self._instance(number)
        for each in self._old.after:
            self._sections.append((Section.CANON, listed([self._canon(each)])) if isinstance(each, Canon) else each)
        modules = [link(self._parts, self._exports), *[self._old.modules[number] for number in self._modules]]
        sections = [*self._old.before, *[(Section.CORE_MODULE, module) for module in modules], *self._sections]
        return PREAMBLE + b"".join(section(number, content) for number, content in sections)

    def _bindings(self, module: Module, made: Instantiation) -> dict[tuple[bytes, bytes], Export | Outside]:
        imports = [each for kind in Kind for each in module.imports[kind]]
        return {
            (each.module, each.name): self._bound(self._old.exported(made.arguments[each.module], each.name))
            for each in imports
        }

    def _bound(self, origin: Alias | int) -> Export | Outside:
        if isinstance(origin, Alias) and origin.instance in self._part:
            return Export(self._part[origin.instance], origin.name)
        return Outside(self._outside.setdefault(origin, b"%d" % len(self._outside)))

    def _instance(self, number: int) -> int:
        if number not in self._instances:
            made = self._old.instances[number]
            if isinstance(made, Inline):
                items = {name: (kind, self._old.origin(kind, item)) for name, (kind, item) in made.exports.items()}
                self._instances[number] = self._inline(items)
            else:
                arguments = {name: self._instance(given) for name, given in made.arguments.items()}
                self._instances[number] = self._instantiate(self._modules[made.module], arguments)
        return self._instances[number]

    def _merged_instance(self) -> int:
        if self._merged is None:
            given = self._inline({name: (Kind.FUNCTION, origin) for origin, name in self._outside.items()})
            self._merged = self._instantiate(_MERGED, {b"": given})
        return self._merged

    def _item(self, kind: Kind, origin: Alias | int) -> int:
        """The number of a core item."""
        key = kind, origin
        if key not in self._items:
            if isinstance(origin, Alias):
                instance, name = self._source(kind, origin)
                number, content = Section.ALIAS, bytes([CORE, kind, EXPORT_OF_CORE]) + leb(instance) + sized(name)
            else:
                canon = self._old.core[kind][origin]
                assert isinstance(canon, Canon)
                number, content = Section.CANON, self._canon(canon)
            self._items[key] = self._add(number, kind.name, content)
        return self._items[key]

    def _source(self, kind: Kind, origin: Alias) -> tuple[int, bytes]:
        part = self._part.get(origin.instance)
        if part is None:
            return self._instance(origin.instance), origin.name
        if kind == Kind.MEMORY:
            return self._merged_instance(), MEMORY
        if kind != Kind.FUNCTION:
            raise NotMergeableError(f"a {kind.name.lower()} that is used outside")
        name = self._exports.setdefault(Export(part, origin.name), b"%d" % len(self._exports))
        return self._merged_instance(), name

    def _canon(self, canon: Canon) -> bytes:
        if canon.kind not in (LIFT, LOWER):
            return bytes([canon.kind]) + leb(canon.subject)
        lifted = canon.kind == LIFT
        subject = self._function(canon.subject) if lifted else canon.subject
        options = listed([self._option(*each) for each in canon.options])
        return bytes([canon.kind, 0]) + leb(subject) + options + (b"" if canon.type is None else leb(canon.type))

    def _option(self, option: int, item: int | None) -> bytes:
        if item is None:
            return bytes([option])
        if option == MEMORY_OPTION:
            return bytes([option]) + leb(self._item(Kind.MEMORY, self._old.origin(Kind.MEMORY, item)))
        return bytes([option]) + leb(self._function(item))

    def _function(self, number: int) -> int:
        return self._item(Kind.FUNCTION, self._old.origin(Kind.FUNCTION, number))

    def _inline(self, items: dict[bytes, tuple[Kind, Alias | int]]) -> int:
        made = [(name, kind, self._item(kind, origin)) for name, (kind, origin) in items.items()]
        exports = listed([sized(name) + bytes([kind]) + leb(item) for name, kind, item in made])
        return self._add(Section.CORE_INSTANCE, "instance", bytes([INLINE]) + exports)

    def _instantiate(self, module: int, arguments: dict[bytes, int]) -> int:
        given = listed([sized(name) + bytes([INSTANCE]) + leb(number) for name, number in arguments.items()])
        return self._add(Section.CORE_INSTANCE, "instance", bytes([INSTANTIATE]) + leb(module) + given)

    def _add(self, number: int, sort: str, content: bytes) -> int:
        """Write a definition; its number among those of its sort."""
        self._sections.append((number, listed([content])))
        self._counts[sort] += 1
        return self._counts[sort] - 1


def _is_left(module: Module) -> bool:
    """Whether it has a table, its own or imported, but no memory."""
    tables, memories = (module.imports[Kind.TABLE] or module.tables, module.imports[Kind.MEMORY] or module.memories)
    return bool(tables) and not memories
