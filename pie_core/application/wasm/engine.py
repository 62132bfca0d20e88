"""How wasmtime is configured: the same in the process that compiles a component and in the server that runs it.

Precompiled code fits only an engine with the settings it was compiled for, so nothing else in pie-core makes a
`Config`. The settings are a table, because their fingerprint is part of the name of every cached component.
"""

from __future__ import annotations

import faulthandler
import hashlib
import platform
from importlib.metadata import version

import wasmtime
from wasmtime import _ffi as ffi

from pie_core.errors import PieError

WASMTIME = "50"  # the major version whose C interface, beyond wasmtime's public Python classes, is known to work
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
STDERR = 2
TARGETS = {
    ("Linux", "x86_64"): "x86_64-unknown-linux-gnu",
    ("Linux", "aarch64"): "aarch64-unknown-linux-gnu",
    ("Darwin", "arm64"): "aarch64-apple-darwin",
}

SETTINGS: tuple[tuple[str, int], ...] = (
    ("wasm_component_model", True),
    ("epoch_interruption", True),  # time slices, and an end to endless loops
    # Off: a `future` or `stream` in the signature of any host function would abort the whole process.
    ("concurrency_support", False),
    ("async_stack_size", 2 * MIB),  # of a fiber: the guest's part and, above it, 1.5 MiB for Python callbacks
    ("max_wasm_stack", 512 * KIB),
    # Address space, not memory. With all that 32 bits can address reserved, code needs no bounds checks, which
    # would make loops over memory 1.4 times slower; 1000 guests take 4 of the 128 TiB that a process has.
    ("memory_reservation", 4 * GIB),
    ("memory_guard_size", 32 * MIB),
    ("memory_init_cow", True),  # a new instance shares the pages of the component's initial memory
    # Not needed by any toolchain we know of, so not offered to strangers' code.
    ("wasm_threads", False),
    ("wasm_memory64", False),
    ("shared_memory", False),
)


def engine_config() -> wasmtime.Config:
    """A new configuration from `SETTINGS`. Raises `PieError` if this wasmtime is not the known one."""
    check_version(version("wasmtime"))
    config = wasmtime.Config()
    for name, value in SETTINGS:
        getattr(ffi, f"wasmtime_config_{name}_set")(config.ptr(), value)
    return config


def portable_config() -> wasmtime.Config:
    """As `engine_config`, for code that runs on any machine of this one's kind: of its processor it uses the baseline.

    Raises `PieError` where it is not known what wasmtime calls this kind.
    """
    target = TARGETS.get((platform.system(), platform.machine()))
    if target is None:
        raise PieError(
            f"code cannot be compiled ahead for all machines like this one ({platform.system()}, "
            f"{platform.machine()}), only for {', '.join(sorted(TARGETS.values()))}"
        )
    config = engine_config()
    config.target = target  # naming one is what switches the use of this processor's own features off
    return config


def new_engine() -> wasmtime.Engine:
    """An engine for the server: one per process is enough.

    Python's fault handler is switched on first. Switched on after wasmtime has set its signal handlers, it would
    take them over, and a guest's access out of bounds would end the server instead of the guest.
    """
    config = engine_config()
    if not faulthandler.is_enabled():
        faulthandler.enable(STDERR)
    return wasmtime.Engine(config)


def fingerprint() -> str:
    """16 hexadecimal digits that differ where code compiled by one engine cannot run in another."""
    facts = (version("wasmtime"), platform.system(), platform.machine(), SETTINGS)
    return hashlib.blake2b(repr(facts).encode(), digest_size=8).hexdigest()


def check_version(installed: str) -> None:
    """Raise `PieError` unless `installed` is a wasmtime that pie-core is known to work with."""
    if installed.split(".")[0] != WASMTIME:
        raise PieError(
            f"wasmtime {installed} is installed, and pie-core runs WebAssembly with wasmtime {WASMTIME} only: it uses "
            f"parts of it that change between versions; pip install 'wasmtime=={WASMTIME}.*'"
        )
