"""The bodies of functions: where they name functions, types and globals, and the same with other numbers.

All else in a body is skipped by one regular expression, at the speed of C: a body is mostly instructions that name
nothing but locals and labels. The instructions are those of WebAssembly 1.0 with bulk memory, sign extension and
saturating truncation; a body with any other is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pie_core.application.component import leb
from pie_core.application.wasm.merging.binary import Cursor, NotMergeableError, signed_leb

FUNCTION, TYPE, GLOBAL_GET, GLOBAL_SET = range(4)
_LEB = rb"[\x80-\xff]*[\x00-\x7f]"
_SKIPPED = re.compile(
    rb"(?:"
    rb"[\x00\x01\x05\x0b\x0f\x1a\x1b\x45-\xc4\xd1]"  # no immediates
    rb"|[\x0c\x0d\x20-\x22\x41\x42]" + _LEB + rb"|[\x28-\x3e]" + _LEB + _LEB + rb"|[\x02-\x04][\x40\x6f\x70\x7c-\x7f]"
    rb"|[\x3f\x40]\x00|\x43.{4}|\x44.{8}|\x1c\x01.|\xd0.|\xfc(?:[\x00-\x07]|\x0a\x00\x00|\x0b\x00))*+",
    re.DOTALL,
)
_BLOCKS = (0x02, 0x03, 0x04)
_CALL, _CALL_INDIRECT, _BR_TABLE = 0x10, 0x11, 0x0E
GET_GLOBAL, _SET_GLOBAL, I32_CONST, END = 0x23, 0x24, 0x41, 0x0B


@dataclass(frozen=True, slots=True)
class Mention:
    """Where a body names something: what, its number, and the bytes that say so (the opcode, for `GLOBAL_GET`)."""

    what: int
    number: int
    start: int
    end: int


def mentions(data: bytes, start: int, end: int) -> Iterator[Mention]:
    """All in the instructions from `start` to `end`."""
    cursor = Cursor(data, start, end)
    while True:
        found = _SKIPPED.match(data, cursor.at, end)
        assert found is not None
        cursor.at = found.end()
        if cursor.at == end:
            return
        at, opcode = cursor.at, cursor.byte()
        if opcode == _CALL:
            yield Mention(FUNCTION, cursor.number(), at + 1, cursor.at)
        elif opcode == _CALL_INDIRECT:
            yield Mention(TYPE, cursor.number(), at + 1, cursor.at)
            if cursor.number() != 0:
                raise NotMergeableError("a function that uses a second table")
        elif opcode == GET_GLOBAL:
            yield Mention(GLOBAL_GET, cursor.number(), at, cursor.at)
        elif opcode == _SET_GLOBAL:
            yield Mention(GLOBAL_SET, cursor.number(), at + 1, cursor.at)
        elif opcode in _BLOCKS and (kind := cursor.signed()) >= 0:
            yield Mention(TYPE, kind, at + 1, cursor.at)
        elif opcode == _BR_TABLE:
            cursor.list(cursor.number)
            cursor.number()
        else:
            raise NotMergeableError(f"the instruction {data[at : at + 2].hex()}")


def first_instruction(data: bytes, start: int) -> int:
    """Where the instructions of a body begin: behind its locals."""
    cursor = Cursor(data, start)
    cursor.list(lambda: (cursor.number(), cursor.byte()))
    return cursor.at


@dataclass(frozen=True)
class Numbers:
    """New numbers for old ones. `constants`: globals that are one, by their old number."""

    function: Callable[[int], int]
    type: Callable[[int], int]
    globals: Mapping[int, int]
    constants: Mapping[int, int]


def renumbered(data: bytes, start: int, end: int, found: list[Mention], numbers: Numbers) -> bytes:
    """A body with new numbers."""
    parts: list[bytes] = []
    at = start
    for each in found:
        parts += data[at : each.start], _encoded(each, numbers)
        at = each.end
    parts.append(data[at:end])
    return b"".join(parts)


def _encoded(mention: Mention, numbers: Numbers) -> bytes:
    number = mention.number
    if mention.what == FUNCTION:
        return leb(numbers.function(number))
    if mention.what == TYPE:
        return signed_leb(numbers.type(number))
    if mention.what == GLOBAL_SET:
        return leb(numbers.globals[number])
    if number in numbers.constants:
        return bytes([I32_CONST]) + signed_leb(numbers.constants[number])
    return bytes([GET_GLOBAL]) + leb(numbers.globals[number])
