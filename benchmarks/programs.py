"""The guest of the benchmarks in each form that a program can have: Python source, that in a component, C."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pie_core.application.events import Event
from pie_core.application.inferlet import Inferlet
from pie_core.application.program import Program, read_program
from pie_core.application.wasm.cache import default_directory
from pie_core.application.wasm.interpreter import build_program
from pie_core.trait import Trait

GUESTS = Path(__file__).parent / "guests"
CLANGS = ("clang-19", "clang-18", "clang-17", "clang-16", "clang")
FLAGS = ("--target=wasm32-wasi", "-O2", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-nostartfiles", "-Wl,--no-entry")


class BuildError(Exception):
    """What is missing here to build a form of the guest."""


def python_source() -> Program:
    """As a client sends it."""
    return read_program(GUESTS / "guest.py")


def python_component(traits: Iterable[Trait]) -> Program:
    """As `pie-core build` makes it; kept in the cache, for it takes 15 s."""
    path = build_program(python_source(), traits, default_directory().parent)
    return Program("guest", "", path.name, path.read_bytes())


def c_component() -> Program:
    """Built as docs/languages.md says. Raises `BuildError`."""
    clang = next(filter(shutil.which, CLANGS), None)
    if clang is None:
        raise BuildError("no clang: apt-get install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32")
    with tempfile.TemporaryDirectory(prefix="pie-guest-") as directory:
        header, module, component = (Path(directory, name) for name in ("pie.h", "module.wasm", "guest.wasm"))
        _run(sys.executable, "-m", "pie_core.cli", "wit", "--c-header", str(header))
        _run(clang, *FLAGS, f"-I{directory}", str(GUESTS / "guest.c"), "-o", str(module))
        _run(sys.executable, "-m", "pie_core.cli", "build", str(module), "-o", str(component))
        return Program("guest", "", "guest.wasm", component.read_bytes())


async def next_event(inferlet: Inferlet) -> Event:
    """The next thing that the client would see."""
    ticket, arrived = inferlet.events.get(), asyncio.Event()
    ticket.watch(lambda _: arrived.set())
    await arrived.wait()
    event: Event = ticket.result()
    return event


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"{command[0]} failed: {done.stderr.strip()[-400:]}")
