"""What a launch weighs, and whether that is allowed."""

from __future__ import annotations

from collections.abc import Sequence

from pie_core.application.limits import Limits
from pie_core.application.program import Program
from pie_core.errors import ArgumentError


def check_sizes(limits: Limits, program: Program, arguments: Sequence[str], blobs: Sequence[bytes]) -> int:
    """Bytes of program, arguments and blobs. Raises `ArgumentError` that names the one that is too large."""
    size, most = len(program.source.encode()), limits.program_bytes
    if program.wasm is not None:
        size, most = len(program.wasm), limits.component_bytes
    if size > most:
        raise ArgumentError(f"program {program.name!r} has {size} bytes; {most} are allowed")
    given = sum(len(argument.encode()) for argument in arguments)
    if given > limits.message_bytes:
        raise ArgumentError(f"{given} bytes of arguments; {limits.message_bytes} are allowed")
    carried = sum(map(len, blobs))
    if carried > limits.message_bytes:
        raise ArgumentError(f"{carried} bytes of blobs at launch; {limits.message_bytes} are allowed")
    return size + given + carried
