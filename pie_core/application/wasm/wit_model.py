"""WIT as data: what the generated text and the check of a component's imports both are made from.

It knows neither traits (wit.py) nor wasmtime (reflection.py). Names are held in kebab-case without escapes; the text
escapes those that are WIT keywords.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

# fmt: off
KEYWORDS = frozenset({
    "as", "async", "bool", "borrow", "char", "constructor", "enum", "error-context", "export", "f32", "f64",
    "flags", "float32", "float64", "from", "func", "future", "implements", "import", "include", "interface", "list",
    "map", "option", "own", "package", "record", "resource", "result", "s16", "s32", "s64", "s8", "static", "stream",
    "string", "tuple", "type", "u16", "u32", "u64", "u8", "union", "use", "variant", "with", "world",
})
# fmt: on


def identifier(name: str) -> str:
    """The name as WIT text, escaped if it is a keyword."""
    return f"%{name}" if name in KEYWORDS else name


def documentation(doc: str, indent: str = "") -> str:
    """The doc comment, one line for each of `doc`; empty for none. Characters that WIT forbids are left out."""
    lines = ["".join(filter(str.isprintable, line)).rstrip() for line in doc.splitlines()]
    return "".join(f"{indent}/// {line}".rstrip() + "\n" for line in lines)


class WitType(ABC):
    """The type of a value."""

    @abstractmethod
    def text(self, named: bool = True) -> str:
        """As WIT. With `named` a record is its name; without, its fields, which is all that a component tells of it."""


@dataclass(frozen=True)
class Plain(WitType):
    """A type that is one word: ``u32``, ``string``."""

    name: str

    def text(self, named: bool = True) -> str:
        return self.name


@dataclass(frozen=True)
class ListOf(WitType):
    """``list<item>``."""

    item: WitType

    def text(self, named: bool = True) -> str:
        return f"list<{self.item.text(named)}>"


@dataclass(frozen=True)
class OptionOf(WitType):
    """``option<item>``."""

    item: WitType

    def text(self, named: bool = True) -> str:
        return f"option<{self.item.text(named)}>"


@dataclass(frozen=True)
class ResultOf(WitType):
    """``result<ok, error>``; either may be missing."""

    ok: WitType | None
    error: WitType | None

    def text(self, named: bool = True) -> str:
        ok = "_" if self.ok is None else self.ok.text(named)
        if self.error is None:
            return "result" if self.ok is None else f"result<{ok}>"
        return f"result<{ok}, {self.error.text(named)}>"


@dataclass(frozen=True)
class Record(WitType):
    """A record with its fields in order."""

    name: str
    fields: tuple[tuple[str, WitType], ...]
    doc: str = ""

    def text(self, named: bool = True) -> str:
        return identifier(self.name) if named else f"record {{ {_pairs(self.fields, named)} }}"

    @property
    def declaration(self) -> str:
        """The lines that declare it in an interface."""
        fields = "".join(f"    {_pairs((field,), True)},\n" for field in self.fields)
        return f"{documentation(self.doc, '  ')}  record {identifier(self.name)} {{\n{fields}  }}\n"


@dataclass(frozen=True)
class Function:
    """One function. `call` is the declared call it serves (None: written by hand, in core_package.py); by `gives` it

    "value"   answers at once.
    "ticket"  starts the call and returns its ticket.
    "result"  takes what a ticket of the call has brought.
    """

    name: str
    parameters: tuple[tuple[str, WitType], ...]
    returns: WitType | None
    doc: str = ""
    call: str | None = None
    gives: Literal["value", "ticket", "result"] = "value"

    def signature(self, named: bool = True) -> str:
        """``name: func(a: u32) -> string``; for `named` see `WitType.text`."""
        arrow = "" if self.returns is None else f" -> {self.returns.text(named)}"
        return f"{identifier(self.name)}: func({_pairs(self.parameters, named)}){arrow}"

    @property
    def declaration(self) -> str:
        """The lines that declare it in an interface."""
        return f"{documentation(self.doc, '  ')}  {self.signature()};\n"


@dataclass(frozen=True)
class Interface:
    """Records and functions. `uses` are records that another interface, `uses_from`, declares."""

    name: str
    doc: str = ""
    records: tuple[Record, ...] = ()
    functions: tuple[Function, ...] = ()
    uses: tuple[Record, ...] = ()
    uses_from: str = ""

    @property
    def text(self) -> str:
        """The declaration of the interface."""
        parts = [record.declaration for record in self.records]
        parts += [function.declaration for function in self.functions]
        if self.uses:
            names = ", ".join(identifier(record.name) for record in self.uses)
            parts.insert(0, f"  use {self.uses_from}.{{{names}}};\n")
        return f"{documentation(self.doc)}interface {identifier(self.name)} {{\n" + "\n".join(parts) + "}\n"


@dataclass(frozen=True)
class Package:
    """A package such as ``pie:forward``. `name` and `version` as WIT and components have them, without escapes."""

    name: str
    version: str
    interfaces: tuple[Interface, ...]

    @property
    def interface(self) -> Interface:
        """The interface with the declared calls; of ``pie:core``, which has others too, it is the last."""
        return self.interfaces[-1]

    @property
    def text(self) -> str:
        """The whole package as WIT."""
        namespace, name = self.name.split(":")
        heading = f"package {namespace}:{identifier(name)}@{self.version};\n"
        return "\n".join([heading, *(interface.text for interface in self.interfaces)])

    def path(self, interface: Interface) -> str:
        """How WIT names one of its interfaces: ``pie:forward/forward@1.0.0``."""
        namespace, name = self.name.split(":")
        return f"{namespace}:{identifier(name)}/{identifier(interface.name)}@{self.version}"


def _pairs(entries: tuple[tuple[str, WitType], ...], named: bool) -> str:
    return ", ".join(f"{identifier(name)}: {kind.text(named)}" for name, kind in entries)
