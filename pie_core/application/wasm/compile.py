"""Compile a component in a process of its own, which is killed past limits of time and memory.

A megabyte of WebAssembly can cost ten seconds to compile, and a hostile one hours, so the server never compiles.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import msgspec

from pie_core.application.wasm import compile_worker
from pie_core.application.wasm.child import child_command, child_environment
from pie_core.application.wasm.compile_worker import CANNOT_WRITE, OUT_OF_MEMORY, REFUSED, shorten
from pie_core.errors import PieError, ProgramError, ResourceError

CORE_MODULE = b"\0asm\x01\0\0\0"
COMPONENT = b"\0asm\x0d\0\x01\0"
THREADS = 4  # at most, for one compilation
_NO_MEMORY = (
    "memory allocation of",
    "MemoryError",
    "Cannot allocate memory",
    "os error 11",
    "os error 12",
)  # as Rust and Python say it


class CompileLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one compilation may use. A Python component of 20 MB takes 10 s of processor time and 0.5 GB."""

    wasm_bytes: int = 64 << 20  # size of a component
    cpu_s: int = 60  # processor time, all threads together
    wall_s: float = 120.0  # from start to end
    memory_bytes: int = 2 << 30  # address space of the compiling process
    at_once: int = 2  # compilations at the same time; others wait


async def compile_component(wasm: bytes, directory: Path, limits: CompileLimits) -> None:
    """Write `component.cwasm` and `facts.json` into a directory, by a child process that is gone afterwards.

    Raises `ProgramError`: it is no component, or no inferlet, or met a limit, which is named.
    `ResourceError`: no room to store it.
    """
    check_kind(wasm, limits)
    process = await _start(directory, limits)
    try:
        async with asyncio.timeout(limits.wall_s):
            output, complaint = await process.communicate(wasm)
    except TimeoutError:
        raise _limit("wall_s", f"{limits.wall_s:g} s") from None
    finally:
        await _end(process)
    assert process.returncode is not None
    if process.returncode:
        raise _failure(process.returncode, output.decode().strip(), complaint.decode(errors="replace"), limits)


def check_kind(wasm: bytes, limits: CompileLimits) -> None:
    """Raise `ProgramError` that says what these bytes are, unless they may be a component of allowed size."""
    if len(wasm) > limits.wasm_bytes:
        raise _limit("wasm_bytes", f"{limits.wasm_bytes} bytes", f"it has {len(wasm)} bytes")
    if wasm.startswith(COMPONENT):
        return
    raise ProgramError(f"the program is {_kind(wasm)}")


def _kind(data: bytes) -> str:
    head = data[:8]
    if not data:
        return "empty (0 bytes); send a WebAssembly component"
    if head == CORE_MODULE:
        return (
            "a core WebAssembly module, not a component; make a component of it with your language's component "
            "tool (`jco new`, componentize-py), against the WIT that `pie-core wit` writes"
        )
    if head[:4] == CORE_MODULE[:4]:
        cut = len(head) < 8
        return (
            "a WebAssembly file cut off in its first bytes; send it again"
            if cut
            else (
                f"WebAssembly of an unknown version ({head[4:].hex(' ')}); build it with a tool for the component model"
            )
        )
    if head[:4] == b"\x7fELF":
        return "native code, not WebAssembly; send the .wasm component, the server compiles it itself"
    if _is_text(data):
        return "text, not WebAssembly; send Python source as Python source, and .wat text assembled to .wasm"
    return f"not WebAssembly (it starts with {head.hex(' ')}); send a WebAssembly component"


def _is_text(data: bytes) -> bool:
    head = data[:4096]
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 > 0  # cut within a character
    return b"\0" not in head


async def _start(directory: Path, limits: CompileLimits) -> Process:
    arguments = (str(directory), str(limits.cpu_s), str(limits.memory_bytes))
    return await asyncio.create_subprocess_exec(
        *child_command(compile_worker.__name__, *arguments),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=child_environment(RAYON_NUM_THREADS=str(min(THREADS, os.cpu_count() or 1))),
        start_new_session=True,  # a process group of its own, killed as a whole
    )


async def _end(process: Process) -> None:
    """Kill what is left of the group and reap the child, even if this task is being cancelled."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _failure(status: int, output: str, complaint: str, limits: CompileLimits) -> PieError:
    if status == REFUSED:
        return ProgramError(output)
    if status == CANNOT_WRITE:
        return ResourceError(f"the compiled program cannot be stored: {output}; make room in the component cache")
    if status == -signal.SIGXCPU:
        return _limit("cpu_s", f"{limits.cpu_s} s of processor time")
    if status in (OUT_OF_MEMORY, -signal.SIGKILL) or any(sign in complaint for sign in _NO_MEMORY):
        return _limit("memory_bytes", f"{limits.memory_bytes >> 20} MiB of memory")
    return ProgramError(f"the compiler crashed on the program (status {status}): {shorten(complaint)}")


def _limit(name: str, value: str, detail: str = "") -> ProgramError:
    return ProgramError(
        f"the program is too much to compile: {detail or 'it was stopped'} at the limit {name} = {value}; make it "
        f"smaller, or have the server's limit {name} for compiling raised"
    )
