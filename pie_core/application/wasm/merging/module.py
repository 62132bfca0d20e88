"""A core module, read as far as merging needs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from pie_core.application.wasm.merging.binary import Cursor, NotMergeableError

PREAMBLE_SIZE = 8
FUNCREF = 0x70
I32 = 0x7F
_FUNCTION_NAMES = 1


class Kind(IntEnum):
    """What modules import and export."""

    FUNCTION = 0
    TABLE = 1
    MEMORY = 2
    GLOBAL = 3


class Section(IntEnum):
    """Numbers of sections."""

    CUSTOM = 0
    TYPE = 1
    IMPORT = 2
    FUNCTION = 3
    TABLE = 4
    MEMORY = 5
    GLOBAL = 6
    EXPORT = 7
    START = 8
    ELEMENT = 9
    CODE = 10
    DATA = 11
    DATA_COUNT = 12


@dataclass(frozen=True, slots=True)
class Import:
    """`type`: of a function its number, of anything else its bytes."""

    module: bytes
    name: bytes
    type: int | bytes


@dataclass(frozen=True, slots=True)
class Global:
    """`type`: two bytes; the second tells whether it can be written. `start`, `end`: of the expression of its value."""

    type: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Elements:
    """Functions that are put into the table, from what the expression at `start` says."""

    start: int
    functions: list[int]


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes that are put into the memory, from what the expression at `start` says."""

    start: int
    content: bytes


@dataclass
class Module:
    """Numbers are indices as in the module: what it imports first. `bodies`: where each begins and ends in `binary`."""

    binary: bytes
    types: list[bytes] = field(default_factory=list)
    imports: dict[Kind, list[Import]] = field(default_factory=lambda: {kind: [] for kind in Kind})
    functions: list[int] = field(default_factory=list)  # their types
    tables: list[bytes] = field(default_factory=list)
    memories: list[bytes] = field(default_factory=list)
    globals: list[Global] = field(default_factory=list)
    exports: dict[bytes, tuple[Kind, int]] = field(default_factory=dict)
    elements: list[Elements] = field(default_factory=list)
    bodies: list[tuple[int, int]] = field(default_factory=list)
    data: list[Data] = field(default_factory=list)
    names: dict[int, bytes] = field(default_factory=dict)  # of functions


def read_module(binary: bytes) -> Module:
    """Raises `NotMergeableError`."""
    module = Module(binary)
    readers = {
        Section.TYPE: _types,
        Section.IMPORT: _imports,
        Section.FUNCTION: _functions,
        Section.TABLE: _tables,
        Section.MEMORY: _memories,
        Section.GLOBAL: _globals,
        Section.EXPORT: _exports,
        Section.ELEMENT: _elements,
        Section.CODE: _code,
        Section.DATA: _data,
    }
    for number, content in Cursor(binary, PREAMBLE_SIZE).sections():
        if number in readers:
            readers[Section(number)](content, module)
        elif number == Section.CUSTOM:
            _names(content, module)
        elif number != Section.DATA_COUNT:
            raise NotMergeableError(f"a section {number} of a core module")
    return module


def _types(cursor: Cursor, module: Module) -> None:
    def one() -> None:
        cursor.expect(0x60, "a type")
        for _ in range(2):
            cursor.list(cursor.byte)

    module.types = cursor.list(lambda: cursor.raw(one))


def _imports(cursor: Cursor, module: Module) -> None:
    for _ in range(cursor.number()):
        name = cursor.name(), cursor.name()
        kind = Kind(cursor.byte())
        module.imports[kind].append(Import(*name, _import_type(cursor, kind)))


def _import_type(cursor: Cursor, kind: Kind) -> int | bytes:
    if kind == Kind.FUNCTION:
        return cursor.number()
    if kind == Kind.GLOBAL:
        return cursor.take(2)
    return cursor.raw(lambda: _table(cursor) if kind == Kind.TABLE else _limits(cursor))


def _limits(cursor: Cursor) -> None:
    flags = cursor.byte()
    if flags > 1:
        raise NotMergeableError(f"a memory or table of kind {flags}")
    for _ in range(1 + flags):
        cursor.number()


def _table(cursor: Cursor) -> None:
    cursor.expect(FUNCREF, "a table")
    _limits(cursor)


def _functions(cursor: Cursor, module: Module) -> None:
    module.functions = cursor.list(cursor.number)


def _tables(cursor: Cursor, module: Module) -> None:
    module.tables = cursor.list(lambda: cursor.raw(lambda: _table(cursor)))


def _memories(cursor: Cursor, module: Module) -> None:
    module.memories = cursor.list(lambda: cursor.raw(lambda: _limits(cursor)))


def _globals(cursor: Cursor, module: Module) -> None:
    def one() -> Global:
        kind, start = cursor.take(2), cursor.at
        skip_expression(cursor)
        return Global(kind, start, cursor.at)

    module.globals = cursor.list(one)


def skip_expression(cursor: Cursor) -> None:
    """A constant expression, with its end."""
    while (opcode := cursor.byte()) != 0x0B:
        if opcode in (0x41, 0x42):
            cursor.signed()
        elif opcode in (0x43, 0x44):
            cursor.take(4 if opcode == 0x43 else 8)
        elif opcode == 0x23:
            cursor.number()
        elif opcode != 0x6A:
            raise NotMergeableError(f"the instruction {opcode:#x} in a constant")


def _exports(cursor: Cursor, module: Module) -> None:
    for _ in range(cursor.number()):
        name = cursor.name()
        module.exports[name] = Kind(cursor.byte()), cursor.number()


def _elements(cursor: Cursor, module: Module) -> None:
    def one() -> Elements:
        flags = cursor.byte()
        if flags not in (0, 2) or (flags == 2 and cursor.number() != 0):
            raise NotMergeableError(f"an element segment of kind {flags}")
        start = cursor.at
        skip_expression(cursor)
        if flags == 2:
            cursor.expect(0, "elements")
        return Elements(start, cursor.list(cursor.number))

    module.elements = cursor.list(one)


def _code(cursor: Cursor, module: Module) -> None:
    def one() -> tuple[int, int]:
        size = cursor.number()
        cursor.at += size
        return cursor.at - size, cursor.at

    module.bodies = cursor.list(one)


def _data(cursor: Cursor, module: Module) -> None:
    def one() -> Data:
        cursor.expect(0, "a data segment")
        start = cursor.at
        skip_expression(cursor)
        return Data(start, cursor.name())

    module.data = cursor.list(one)


def _names(cursor: Cursor, module: Module) -> None:
    """Of functions, for backtraces."""
    if cursor.name() != b"name":
        return
    for number, content in cursor.sections():
        if number == _FUNCTION_NAMES:
            module.names = dict(content.list(content.named))
