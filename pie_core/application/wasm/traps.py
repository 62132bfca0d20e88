"""Why a guest ended, from what wasmtime says, in words for the program's author."""

from __future__ import annotations

import re

import wasmtime

from pie_core.application.wasm.guest import GuestLimits
from pie_core.errors import PieError, ProgramError, ResourceError

_LONGEST = 2000  # characters of wasmtime's own words
_FRAME = re.compile(r"^\s+\d+:\s+0x[0-9a-f]+ - (.+)$", re.MULTILINE)
_FRAMES = 8
_PARTS = {"instance": "instances of modules", "table": "tables", "memory": "memories"}
_COUNT = re.compile(r"(instance|table|memory) count too high at (\d+)")


def explain_trap(error: wasmtime.WasmtimeError, limits: GuestLimits) -> PieError:
    """The error that the client gets."""
    text = str(error)
    if "exceeds memory limits" in text or "memory minimum size" in text:
        return ResourceError(
            f"the program needs more memory than the {limits.memory_bytes >> 20} MiB that the limits allow; raise the "
            "limit `memory_bytes`"
        )
    if "exceeds table limits" in text:
        return ResourceError(
            f"the program needs a table of more than the {limits.table_elements} elements that the limits allow; raise "
            "the limit `table_elements`"
        )
    if (count := _COUNT.search(text)) is not None:
        return ResourceError(
            f"the program is made of too many parts: {count[2]} {_PARTS[count[1]]} are more than one program may have; "
            "build it as one module"
        )
    if "fuel allocated for hostcalls" in text:
        return ResourceError(f"a call carries too much data (more than 128 MiB on the server){_where(text)}")
    if "call stack exhausted" in text:
        return ResourceError(f"the program's calls nest too deeply: the call stack is full{_where(text)}")
    reason = text.rpartition("Caused by:")[2].strip() or text
    reason = re.sub(r"^\d+:\s+", "", reason.splitlines()[0].strip()) if reason else "no reason given"
    return ProgramError(f"the program crashed: {reason[:_LONGEST]}{_where(text)}")


def _where(text: str) -> str:
    """The innermost functions, if wasmtime names them."""
    frames = _FRAME.findall(text)
    return "".join(f"\n  in {frame}" for frame in frames[:_FRAMES])
