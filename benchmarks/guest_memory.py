"""Where the memory of a sandboxed program lies, while it waits in the middle of its run.

    python benchmarks/guest_memory.py [--guests 128,896]

Two programs: `python` decodes (`guests/guest.py`), `core` is a module with one page of memory, as C compilers make it.
Prints JSON lines: KiB per program that the process shares with nobody, in linear memory, in the stacks of fibers, and
elsewhere (wasmtime's stores, the server's objects). Each row has a process of its own, and the interpreter is made in
another one, if it has to be: guests would be put into memory that this has left behind, and not be counted. Linux only.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import re
from collections import Counter
from pathlib import Path

import click
import wasmtime
from programs import next_event, python_source
from report import emit, machine
from sandbox import finish, idle_model, prepare, quieten

from pie_core.application.application import Application
from pie_core.application.events import Message
from pie_core.application.program import Program
from pie_core.application.wasm.engine import SETTINGS
from pie_core.application.wasm.tier import WasmTier
from pie_core.application.wasm.wrapping import wrap
from pie_core.trait import Trait

CORE = """
(module
  (import "pie:core/runtime@1.0.0" "send" (func $send (param i32 i32 i32)))
  (import "pie:core/runtime@1.0.0" "receive" (func $receive (param i32)))
  (import "pie:core/tickets@1.0.0" "wait" (func $wait (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "there")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func (export "run") (result i32)
    (call $send (i32.const 16) (i32.const 5) (i32.const 256))
    (call $receive (i32.const 512))
    (call $wait (i32.const 520) (i32.const 1) (i32.const 256))
    (i32.const 64)))
"""
_STACK_KIB = dict(SETTINGS)["async_stack_size"] >> 10
_RESERVED = dict(SETTINGS)["memory_reservation"] // 2  # bytes; no mapping but that of a linear memory is as large
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)")


def private_kib() -> Counter[str]:
    """KiB of this process that it shares with nobody, by what it is."""
    found: Counter[str] = Counter()
    writable: list[tuple[str, int, int]] = []  # name, size in KiB, private KiB; of what adjoins
    end = 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        mapping = _MAPPING.match(line)
        if mapping:
            start, stop = (int(mapping[place], 16) for place in (1, 2))
            if start != end or not mapping[3].startswith("rw"):
                linear = start == end and stop - start > _RESERVED
                for name, size, private in writable:
                    found["linear" if linear else _kind(name, size)] += private
                writable = []
            entry, end = (mapping[4], (stop - start) >> 10), stop
            counts = mapping[3].startswith("rw")
        elif line.startswith("Anonymous:") and counts:
            writable.append((*entry, int(line.split()[1])))
    return found


def _kind(name: str, size: int) -> str:
    return "stack" if not name and size == _STACK_KIB else "other"


def program_of(kind: str, traits: list[Trait]) -> Program:
    """What is measured."""
    if kind == "core":
        return Program("core", "", "core.wasm", wrap(bytes(wasmtime.wat2wasm(CORE)), traits, "core.wasm"))
    return python_source()


async def measure(kind: str, guests: int) -> None:
    """Print one row."""
    model = idle_model(guests)
    tier = WasmTier(model.known_traits)
    program = program_of(kind, list(model.known_traits))
    async with Application({model.info.name: model}, tier) as application:
        await application.warm_up()

        async def begin() -> None:
            inferlet = await application.launch(program, ["decode", "20"])
            assert isinstance(await next_event(inferlet), Message)
            begun.append(inferlet)

        begun = []
        await begin()  # what is made once
        gc.collect()
        before = private_kib()
        await asyncio.gather(*(begin() for _ in range(guests)))
        gc.collect()
        found = private_kib() - before
        for inferlet in begun:
            inferlet.deliver("go")
        await asyncio.gather(*map(finish, begun))
    model.close()
    each = {f"{part}_kib": round(found[part] / guests, 1) for part in ("linear", "stack", "other")}
    row = {"benchmark": "guest_memory", "guest": kind, "guests": guests, **each}
    emit(row | {"kib": round(sum(found.values()) / guests, 1)} | machine())


def run(kind: str, guests: int) -> None:
    """Measure in this process."""
    quieten()
    asyncio.run(measure(kind, guests))


@click.command(help=__doc__)
@click.option("--guests", default="128,896")
def main(guests: str) -> None:
    """Entry point."""
    prepare()
    for row in [(kind, count) for kind in ("python", "core") for count in map(int, guests.split(","))]:
        process = multiprocessing.get_context("spawn").Process(target=run, args=row)
        process.start()
        process.join()


if __name__ == "__main__":
    main()
