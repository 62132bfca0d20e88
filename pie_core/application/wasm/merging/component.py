"""A component, read as far as its core modules and what connects them; the rest is sections that stay as they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial

from pie_core.application.component import PREAMBLE
from pie_core.application.wasm.merging.binary import Cursor, NotMergeableError
from pie_core.application.wasm.merging.module import Kind

CORE = 0x00  # a sort: of core modules
EXPORT, EXPORT_OF_CORE = 0x00, 0x01  # what an alias is of: of an instance, of a core instance
INSTANCE = 0x12  # a sort: of core instances
INSTANTIATE, INLINE = 0x00, 0x01
LIFT, LOWER, RESOURCE_NEW, RESOURCE_DROP, RESOURCE_REP = 0x00, 0x01, 0x02, 0x03, 0x04
MEMORY_OPTION, REALLOC_OPTION, POST_RETURN_OPTION = 0x03, 0x04, 0x05


class Section(IntEnum):
    """Numbers of a component's sections."""

    CUSTOM = 0
    CORE_MODULE = 1
    CORE_INSTANCE = 2
    ALIAS = 6
    CANON = 8


_KEPT = (4, 5, 7, 10, 11)  # components, instances, types, imports, exports


@dataclass(frozen=True)
class Instantiation:
    """A core instance of a module; `arguments`: instances by the name of what the module imports from."""

    module: int
    arguments: dict[bytes, int]


@dataclass(frozen=True)
class Inline:
    """A core instance that is made of items."""

    exports: dict[bytes, tuple[Kind, int]]


@dataclass(frozen=True)
class Alias:
    """A core item that a core instance exports."""

    instance: int
    name: bytes


@dataclass(frozen=True)
class Canon:
    """A function made of one on the other side of the canonical ABI, or for a resource.

    `subject`: what it is made of. `options`: each with the core item that it names, if it names one.
    """

    kind: int
    subject: int
    options: list[tuple[int, int | None]]
    type: int | None = None  # of what is lifted


@dataclass
class Component:
    """`before` and `after`: what is not about core modules, and what stands behind the first lifted function."""

    modules: list[bytes] = field(default_factory=list)
    instances: list[Instantiation | Inline] = field(default_factory=list)
    core: dict[Kind, list[Alias | Canon]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    before: list[tuple[int, bytes]] = field(default_factory=list)
    after: list[tuple[int, bytes] | Canon] = field(default_factory=list)

    def origin(self, kind: Kind, number: int) -> Alias | int:
        """Where a core item comes from: what an instance of a module exports, or else the number of a function."""
        found = self.core[kind][number]
        return number if isinstance(found, Canon) else self.exported(found.instance, found.name)

    def exported(self, instance: int, name: bytes) -> Alias | int:
        """The same for what an instance exports."""
        made = self.instances[instance]
        return Alias(instance, name) if isinstance(made, Instantiation) else self.origin(*made.exports[name])


def read_component(binary: bytes) -> Component:
    """Raises `NotMergeableError`."""
    component = Component()
    for number, content in Cursor(binary, len(PREAMBLE)).sections():
        if number == Section.CORE_MODULE:
            component.modules.append(content.rest())
        elif number == Section.CORE_INSTANCE:
            component.instances += content.list(partial(_instance, content))
        elif number == Section.ALIAS:
            content.list(partial(_alias, content, component))
        elif number == Section.CANON:
            content.list(partial(_canon, content, component))
        elif number in _KEPT:
            _keep(component, number, content.rest())
        elif number != Section.CUSTOM:
            raise NotMergeableError(f"a section {number} of a component")
    return component


def _keep(component: Component, number: int, content: bytes) -> None:
    (component.after or component.before).append((number, content))


def _instance(cursor: Cursor) -> Instantiation | Inline:
    if cursor.byte() == INLINE:
        return Inline(dict(cursor.list(lambda: (cursor.name(), (Kind(cursor.byte()), cursor.number())))))
    return Instantiation(cursor.number(), dict(cursor.list(partial(_argument, cursor))))


def _argument(cursor: Cursor) -> tuple[bytes, int]:
    name = cursor.name()
    cursor.expect(INSTANCE, "an argument")
    return name, cursor.number()


def _alias(cursor: Cursor, component: Component) -> None:
    start, sort = cursor.at, cursor.byte()
    core = cursor.byte() if sort == CORE else None
    target = cursor.byte()
    if target == EXPORT_OF_CORE and core is not None:
        component.core[Kind(core)].append(Alias(cursor.number(), cursor.name()))
        return
    if core is not None or target != EXPORT:
        raise NotMergeableError(f"an alias of sort {sort} to {target}")
    cursor.number(), cursor.name()
    _keep(component, Section.ALIAS, b"\1" + cursor.data[start : cursor.at])


def _canon(cursor: Cursor, component: Component) -> None:
    kind = cursor.byte()
    if kind in (RESOURCE_NEW, RESOURCE_DROP, RESOURCE_REP):
        component.core[Kind.FUNCTION].append(Canon(kind, cursor.number(), []))
        return
    if kind not in (LIFT, LOWER):
        raise NotMergeableError(f"a canonical function of kind {kind}")
    cursor.expect(0, "a canonical function")
    subject, options = cursor.number(), cursor.list(partial(_option, cursor))
    if kind == LIFT:
        component.after.append(Canon(kind, subject, options, cursor.number()))
    else:
        component.core[Kind.FUNCTION].append(Canon(kind, subject, options))


def _option(cursor: Cursor) -> tuple[int, int | None]:
    option = cursor.byte()
    if option > POST_RETURN_OPTION:
        raise NotMergeableError(f"an option {option} of a canonical function")
    return option, cursor.number() if option >= MEMORY_OPTION else None
