"""The process that compiles one component: wasm on standard input, native code in a directory, then it ends.

Compiling is the one costly and complex thing done with a stranger's bytes before they run, so it happens here,
under limits that the system enforces, and not in the server. Started by `compile.py` only.

    python -m pie_core.application.wasm.compile_worker DIRECTORY CPU_SECONDS MEMORY_BYTES

Exit status 0: DIRECTORY has `component.cwasm` and `facts.json`. `REFUSED`: the reason is on standard output.
`CANNOT_WRITE`: likewise. `OUT_OF_MEMORY`: just that. Anything else: it was killed or crashed.
"""

from __future__ import annotations

import hashlib
import os
import resource
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from wasmtime import Config, Engine, WasmtimeError
from wasmtime.component import Component, FuncType, OptionType, RecordType, ResultType, String, ValType

from pie_core.application.wasm.child import NICENESS, limit_memory
from pie_core.application.wasm.engine import engine_config
from pie_core.errors import ProgramError

CODE, FACTS = "component.cwasm", "facts.json"
FORMAT = 1  # of an entry: one more whenever `Facts` or `checksum` change, so that versions can share a cache
REFUSED, OUT_OF_MEMORY, CANNOT_WRITE = 3, 4, 5
RUN = "func() -> result<option<string>, record { code: string, message: string }>"
MESSAGE_CHARACTERS = 400
TRUNCATED = ("unexpected end", "is out of bounds (bound")  # in wasmtime's reasons


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept about the native code beside it."""

    imports: tuple[str, ...]  # names of what the component imports
    checksum: str  # of the native code and the names


def main(arguments: list[str]) -> int:
    """Compile standard input; the exit status."""
    directory, cpu_s, memory_bytes = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    limit_this_process(cpu_s, memory_bytes)
    try:
        compile_into(directory, sys.stdin.buffer.read(), engine_config())
    except ProgramError as error:
        sys.stdout.buffer.write(str(error).encode())
        return REFUSED
    except MemoryError:
        return OUT_OF_MEMORY
    except OSError as error:
        sys.stdout.buffer.write(str(error).encode())
        return CANNOT_WRITE
    return 0


def limit_this_process(cpu_s: int, memory_bytes: int) -> None:
    """Past `cpu_s` of processor time the system ends the process; past `memory_bytes` allocations fail."""
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    limit_memory(memory_bytes)


def compile_into(directory: Path, wasm: bytes, config: Config) -> None:
    """Write native code and facts. Raises `ProgramError` if this is no component that can be an inferlet."""
    engine = Engine(config)
    try:
        component = Component(engine, wasm)
    except WasmtimeError as error:
        raise refusal(error) from error
    check_run({name: extern.ty for name, extern in component.type.exports(engine).items()})
    code = component.serialize()
    imports = tuple(component.type.imports(engine))
    facts = Facts(imports, checksum(code, imports))
    (directory / CODE).write_bytes(code)
    (directory / FACTS).write_bytes(msgspec.json.encode(facts))


def checksum(code: bytes | bytearray, imports: Iterable[str]) -> str:
    """Says whether a stored component is what the compiler wrote: BLAKE2b, 64 hexadecimal digits."""
    whole = hashlib.blake2b(code, digest_size=32)
    whole.update("\n".join(imports).encode())
    return whole.hexdigest()


def refusal(error: WasmtimeError) -> ProgramError:
    """wasmtime's reason, shortened, with what to do about the usual ones."""
    reason = shorten(str(error))
    advice = "build it again with a tool for the component model"
    if "async feature" in reason:
        advice = "inferlets may not use `future`, `stream` or `async` in WIT; use tickets and `wait`"
    elif any(sign in reason for sign in TRUNCATED):
        advice = "the file is truncated or damaged; build or send it again"
    return ProgramError(f"the component is not valid: {reason}; {advice}")


def shorten(message: str) -> str:
    """One line of at most `MESSAGE_CHARACTERS`, without the middle if it is longer."""
    line = " ".join(message.split())
    half = MESSAGE_CHARACTERS // 2
    return line if len(line) <= MESSAGE_CHARACTERS else f"{line[:half]} ... {line[-half:]}"


def check_run(exports: Mapping[str, object]) -> None:
    """Raise `ProgramError` unless `run` is exported with the one type that the server calls."""
    run = exports.get("run")
    if run is None:
        found = shorten(", ".join(sorted(exports))) or "nothing"
        raise ProgramError(
            f"the component exports no `run`, it exports {found}; an inferlet starts at `export run: {RUN}`"
        )
    if not isinstance(run, FuncType) or run.params or not _is_outcome(run.result):
        raise ProgramError(f"the component's export `run` has another type than an inferlet's; it must be `{RUN}`")


def _is_outcome(result: ValType | None) -> bool:
    return (
        isinstance(result, ResultType)
        and isinstance(result.ok, OptionType)
        and isinstance(result.ok.payload, String)
        and isinstance(result.err, RecordType)
        and result.err.fields == [("code", String()), ("message", String())]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
