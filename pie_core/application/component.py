"""Components as files: what names one, and the section in which one carries its manifest.

A component is a preamble of 8 bytes and sections: a number that says what it is, its size as LEB128, its bytes. A
section of number 0 is anybody's: its bytes are a name (its length as LEB128, then UTF-8) and whatever the name means.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from pie_core.errors import ProgramError

PREAMBLE = b"\0asm\x0d\0\x01\0"
MAGIC = PREAMBLE[:4]  # of core modules too
MANIFEST = "inferlet-manifest"  # the section's name; its content is TOML

_CUSTOM = 0
_MOST_LEB_BYTES = 5  # of 32 bits
_MOST_SECTIONS = 10_000  # the interpreter has 670; in 64 MiB there is room for so many that to read them takes 10 s


def digest_of(wasm: bytes) -> str:
    """The name of a component: BLAKE2b of its bytes, 64 hexadecimal digits."""
    return hashlib.blake2b(wasm, digest_size=32).hexdigest()


def read_section(wasm: bytes, name: str, where: str) -> bytes | None:
    """The content of the first custom section of this name. Raises `ProgramError` if `wasm` ends within a section,
    or has too many."""
    raw = name.encode()
    for _, start, body, end in _custom_sections(wasm, where):
        if wasm[start:body] == raw:
            return wasm[body:end]
    return None


def write_section(wasm: bytes, name: str, content: bytes, where: str) -> bytes:
    """The component with this custom section at its end, instead of those of this name that it had. Raises as above."""
    raw = name.encode()
    kept, at = [], 0
    for section, start, body, end in _custom_sections(wasm, where):
        if wasm[start:body] == raw:
            kept.append(wasm[at:section])
            at = end
    inner = leb(len(raw)) + raw + content
    return b"".join([*kept, wasm[at:], bytes([_CUSTOM]), leb(len(inner)), inner])


def _custom_sections(wasm: bytes, where: str) -> Iterator[tuple[int, int, int, int]]:
    """Where each section, its name and its content begin, and where it ends. What is no component has none."""
    at = len(PREAMBLE) if wasm.startswith(PREAMBLE) else len(wasm)
    for _ in range(_MOST_SECTIONS):
        if at >= len(wasm):
            return
        section, kind = at, wasm[at]
        size, body = _read_leb(wasm, at + 1, where)
        at = body + size
        if at > len(wasm):
            raise _damaged(where)
        if kind == _CUSTOM:
            length, start = _read_leb(wasm, body, where)
            if start + length > at:
                raise _damaged(where)
            yield section, start, start + length, at
    if at < len(wasm):
        raise ProgramError(f"{where}: the component has more than {_MOST_SECTIONS} sections; build it with fewer")


def _read_leb(wasm: bytes, at: int, where: str) -> tuple[int, int]:
    """An unsigned number and where it ends."""
    number = 0
    for place, byte in enumerate(wasm[at : at + _MOST_LEB_BYTES]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    raise _damaged(where)


def leb(number: int) -> bytes:
    """An unsigned number as LEB128."""
    made = bytearray()
    while number >= 0x80:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def _damaged(where: str) -> ProgramError:
    return ProgramError(f"{where}: the component is cut off or damaged; build or send it again")
