"""Whether a component's imports of WASI have WASI's own types, as far as the host has something behind them.

What is linked is called with the types that the component declares, so these are compared first, without the names of
parameters, records' fields included, and of resources.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from wasmtime import Engine
from wasmtime import component as wasm

from pie_core.application.wasm.reflection import reflect
from pie_core.errors import TraitError

_RESULT = "variant { last-operation-failed(own<resource>), closed }"
_WRITTEN = f"(borrow<resource>, list<u8>) -> result<_, {_RESULT}>"
_FLUSHED = f"(borrow<resource>) -> result<_, {_RESULT}>"
_READ = f"(borrow<resource>, u64) -> result<list<u8>, {_RESULT}>"
_TIME = "() -> record { seconds: u64, nanoseconds: u32 }"
_MADE = "() -> own<resource>"
_TERMINAL = "() -> option<own<resource>>"
_SIGNATURES: Mapping[str, Mapping[str, str]] = {
    "wasi:io/poll": {
        "[method]pollable.ready": "(borrow<resource>) -> bool",
        "[method]pollable.block": "(borrow<resource>)",
        "poll": "(list<borrow<resource>>) -> list<u32>",
    },
    "wasi:io/streams": {
        "[method]output-stream.check-write": f"(borrow<resource>) -> result<u64, {_RESULT}>",
        "[method]output-stream.write": _WRITTEN,
        "[method]output-stream.blocking-write-and-flush": _WRITTEN,
        "[method]output-stream.flush": _FLUSHED,
        "[method]output-stream.blocking-flush": _FLUSHED,
        "[method]output-stream.subscribe": "(borrow<resource>) -> own<resource>",
        "[method]input-stream.read": _READ,
        "[method]input-stream.blocking-read": _READ,
        "[method]input-stream.subscribe": "(borrow<resource>) -> own<resource>",
    },
    "wasi:io/error": {"[method]error.to-debug-string": "(borrow<resource>) -> string"},
    "wasi:clocks/monotonic-clock": {
        "now": "() -> u64",
        "resolution": "() -> u64",
        "subscribe-instant": "(u64) -> own<resource>",
        "subscribe-duration": "(u64) -> own<resource>",
    },
    "wasi:clocks/wall-clock": {"now": _TIME, "resolution": _TIME},
    "wasi:random/random": {"get-random-bytes": "(u64) -> list<u8>", "get-random-u64": "() -> u64"},
    "wasi:random/insecure": {
        "get-insecure-random-bytes": "(u64) -> list<u8>",
        "get-insecure-random-u64": "() -> u64",
    },
    "wasi:random/insecure-seed": {"insecure-seed": "() -> tuple<u64, u64>"},
    "wasi:cli/environment": {
        "get-environment": "() -> list<tuple<string, string>>",
        "get-arguments": "() -> list<string>",
        "initial-cwd": "() -> option<string>",
    },
    "wasi:cli/exit": {"exit": "(result)"},
    "wasi:cli/stdin": {"get-stdin": _MADE},
    "wasi:cli/stdout": {"get-stdout": _MADE},
    "wasi:cli/stderr": {"get-stderr": _MADE},
    "wasi:cli/terminal-stdin": {"get-terminal-stdin": _TERMINAL},
    "wasi:cli/terminal-stdout": {"get-terminal-stdout": _TERMINAL},
    "wasi:cli/terminal-stderr": {"get-terminal-stderr": _TERMINAL},
    "wasi:filesystem/preopens": {"get-directories": "() -> list<tuple<own<resource>, string>>"},
}


class Item(Protocol):
    """An entry of `component.type.imports(engine)`: wasmtime's `ComponentExtern`."""

    @property
    def ty(self) -> object:
        """One of the type classes of `wasmtime.component`."""


def check_wasi(imports: Mapping[str, Item], engine: Engine, resources: frozenset[str], who: str) -> None:
    """Raise one `TraitError` that tells all that is wrong with the imports that begin with `wasi:`.

    resources: the names of the resource types there are.
    """
    wrong = [
        f"{name}: {problem}"
        for name, item in imports.items()
        if name.startswith("wasi:")
        for problem in _problems(name.partition("@")[0], item.ty, engine, resources)
    ]
    if wrong:
        raise TraitError(f"{who} imports what is not WASI's:" + "".join(f"\n- {problem}" for problem in wrong[:50]))


def _problems(name: str, kind: object, engine: Engine, resources: frozenset[str]) -> Iterator[str]:
    if not isinstance(kind, wasm.ComponentInstanceType):
        yield "not an interface"
        return
    known = _SIGNATURES.get(name, {})
    for label, item in kind.exports(engine).items():
        if isinstance(item.ty, wasm.ResourceType):
            if label not in resources:
                yield f"the resource {label!r} is not known"
        elif isinstance(item.ty, wasm.FuncType):
            if label in known and (found := _signature(item.ty)) != known[label]:
                yield f"function {label!r} has another signature: {found}, not {known[label]}"
        elif not isinstance(item.ty, wasm.ValType):
            yield f"{label!r} is neither a function nor a type"


def _signature(kind: wasm.FuncType) -> str:
    try:
        function = reflect("", kind)
    except ValueError as error:
        return str(error)
    arrow = "" if function.returns is None else f" -> {function.returns.text(named=False)}"
    return f"({', '.join(of.text(named=False) for _, of in function.parameters)}){arrow}"
