"""A C header for the interfaces of `wit.py`: one function for each, with structs as arguments and results.

On wasm32 a C struct lies in memory as the canonical ABI wants it (a variant is its one-byte number and a union), so a
result is read where the host wrote it. Arguments travel one by one: a list is its address and length, and so on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pie_core.application.wasm.core_package import ERROR, MASK, STRING, TYPES
from pie_core.application.wasm.wit import packages
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
)
from pie_core.trait import Trait

_MOST_FLAT = 16  # arguments; more would travel as one address
_SCALARS = {
    **{f"{sign}{bits}": f"{'u' * (sign == 'u')}int{bits}_t" for sign in "us" for bits in (8, 16, 32, 64)},
    "f32": "float",
    "f64": "double",
    "bool": "bool",
}
# fmt: off
_KEYWORDS = frozenset({
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float",
    "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof",
    "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while",
})
# fmt: on
_RUN = ResultOf(OptionOf(STRING), ERROR)

_HEAD = """\
// The calls of pie-core for programs in C. Made by `pie-core wit --c-header`; do not edit.
//
// Every list and string of a result is memory from `cabi_realloc`, for the program to free. In one source file define
// PIE_IMPLEMENTATION before including this: it has what the server calls, and wants `pie_run()`, the program, and
// `realloc`. Build for wasm32 without system calls, then `pie-core build MODULE.wasm -o PROGRAM.wasm`.
#ifndef PIE_H
#define PIE_H

#ifndef __wasm32__
#error "programs are built for wasm32"
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct { char *ptr; size_t len; } pie_string_t;
"""
_TAIL = """
// The program: the text that its client gets, if any, or an error of code "program".
%s pie_run(void);

#ifdef PIE_IMPLEMENTATION
extern void *realloc(void *old, size_t size);

__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t had, size_t align, size_t size) {
  (void)had, (void)align;
  void *found = size ? realloc(old, size) : (void *)align;
  if (!found) __builtin_trap();
  return found;
}

__attribute__((export_name("run"))) void *pie_exported_run(void) {
  static %s outcome;
  outcome = pie_run();
  return &outcome;
}
#endif

#endif
"""


def c_header(traits: Iterable[Trait]) -> str:
    """The header for the runtime and these traits. Raises as `wit.package_of`."""
    made = _Header()
    for package in packages(traits):
        for interface in package.interfaces:
            made.add(package, interface)
    run = made.type(_RUN)
    return "\n".join([_HEAD, *made.lines, _TAIL % (run, run)])


class _Header:
    """The lines so far and the types that they declare."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._records = {ERROR: "error", MASK: "mask"}  # their names
        self._declared: set[str] = set()

    def add(self, package: Package, interface: Interface) -> None:
        """An interface's records and functions."""
        if interface.name == "source":
            return  # for interpreters
        self.lines.append(f"// {package.path(interface)}\n")
        for record in interface.records:
            if interface is not TYPES:
                self._records[record] = _snake(f"{interface.name}-{record.name}")
            self.type(record)
        path = package.path(interface).replace("%", "")
        for function in interface.functions:
            self.lines += self._function(path, function)

    def type(self, kind: WitType) -> str:
        """Its name in C; declared before, if need be."""
        if isinstance(kind, Plain) and kind.name in _SCALARS:
            return _SCALARS[kind.name]
        name = f"pie_{self._name(kind)}_t"
        if name not in self._declared and kind != STRING:
            self._declared.add(name)
            self.lines.append(f"typedef struct {{ {self._members(kind)} }} {name};\n")
        return name

    def _name(self, kind: WitType | None) -> str:
        match kind:
            case None:
                return "none"
            case Plain(name):
                return name
            case ListOf(item):
                return f"list_{self._name(item)}"
            case OptionOf(item):
                return f"option_{self._name(item)}"
            case ResultOf(ok, _):
                return f"result_{self._name(ok)}"
            case Record():
                return self._records[kind]
        raise AssertionError(kind)

    def _members(self, kind: WitType) -> str:
        match kind:
            case ListOf(item):
                return f"{self.type(item)} *ptr; size_t len;"
            case OptionOf(item):
                return f"bool some; {self.type(item)} value;"
            case ResultOf(ok, error):
                fields = [f"{self.type(each)} {name};" for name, each in (("ok", ok), ("error", error)) if each]
                return f"bool is_error; union {{ {' '.join(fields)} }};"
            case Record():
                return " ".join(f"{self.type(each)} {_identifier(name)};" for name, each in kind.fields)
        raise AssertionError(kind)

    def _function(self, path: str, function: Function) -> Iterator[str]:
        returns = "void" if function.returns is None else self.type(function.returns)
        parameters = [(self.type(kind), _identifier(name)) for name, kind in function.parameters]
        flat = [each for name, kind in function.parameters for each in self._flat(kind, _identifier(name))]
        if len(flat) > _MOST_FLAT:
            yield f"// {function.name}: it has too many arguments for this header\n"
            return
        name = f"pie_{_snake(function.name)}"
        types, values = [kind for kind, _ in flat], [value for _, value in flat]
        body = f"  {name}_import({', '.join(values)});\n"
        if function.returns is not None:
            types.append(f"{returns} *")
            call = f"{name}_import({', '.join([*values, '&result'])})"
            body = f"  {returns} result;\n  {call};\n  return result;\n"
        documentation = "".join(f"// {line}".rstrip() + "\n" for line in function.doc.splitlines())
        yield (
            f'__attribute__((import_module("{path}"), import_name("{function.name}")))\n'
            f"void {name}_import({', '.join(types) or 'void'});\n\n"
            f"{documentation}"
            f"static inline {returns} {name}({', '.join(' '.join(each) for each in parameters) or 'void'}) {{\n"
            f"{body}}}\n"
        )

    def _flat(self, kind: WitType, value: str) -> Iterator[tuple[str, str]]:
        """Types and expressions of the arguments that a value travels as."""
        match kind:
            case Plain("string"):
                yield from (("char *", f"{value}.ptr"), ("size_t", f"{value}.len"))
            case Plain(name):
                yield _SCALARS[name], value
            case ListOf(item):
                yield from ((f"{self.type(item)} *", f"{value}.ptr"), ("size_t", f"{value}.len"))
            case OptionOf(item):
                yield "bool", f"{value}.some"
                yield from self._flat(item, f"{value}.value")
            case Record():
                for name, each in kind.fields:
                    yield from self._flat(each, f"{value}.{_identifier(name)}")
            case _:
                raise AssertionError(kind)


def _snake(name: str) -> str:
    return name.replace("-", "_")


def _identifier(name: str) -> str:
    snake = _snake(name)
    return f"{snake}_" if snake in _KEYWORDS else snake
