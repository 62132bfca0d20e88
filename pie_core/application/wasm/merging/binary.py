"""Reading and writing what WebAssembly's binary format is made of: numbers, names, lists, sections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from pie_core.application.component import leb

T = TypeVar("T")


class NotMergeableError(Exception):
    """There is something in the component that merging does not know; the text says what."""


class Cursor:
    """A place in bytes that moves on as they are read."""

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data, self.at, self.end = data, at, len(data) if end is None else end

    def byte(self) -> int:
        """One byte."""
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        """An unsigned LEB128."""
        number = shift = 0
        while True:
            byte = self.byte()
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    def signed(self) -> int:
        """A signed LEB128."""
        began = self.at
        number, bits = self.number(), 7 * (self.at - began)
        return number - (1 << bits) if number >> (bits - 1) else number

    def take(self, count: int) -> bytes:
        """So many bytes."""
        self.at += count
        return self.data[self.at - count : self.at]

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.end - self.at)

    def name(self) -> bytes:
        """A name, in UTF-8."""
        return self.take(self.number())

    def named(self) -> tuple[int, bytes]:
        """A number and the name of what it stands for."""
        return self.number(), self.name()

    def list(self, read: Callable[[], T]) -> list[T]:
        """A list of what `read` reads."""
        return [read() for _ in range(self.number())]

    def raw(self, read: Callable[[], object]) -> bytes:
        """The bytes of what `read` reads."""
        began = self.at
        read()
        return self.data[began : self.at]

    def expect(self, byte: int, what: str) -> None:
        """Read a byte that must be there."""
        found = self.byte()
        if found != byte:
            raise NotMergeableError(f"{what} of kind {found:#x}")

    def sections(self) -> Iterator[tuple[int, Cursor]]:
        """The number and the content of each section from here on."""
        while self.at < self.end:
            number, size = self.byte(), self.number()
            yield number, Cursor(self.data, self.at, self.at + size)
            self.at += size


def signed_leb(number: int) -> bytes:
    """A signed number as LEB128."""
    made = bytearray()
    while not -64 <= number < 64:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number & 0x7F)
    return bytes(made)


def sized(content: bytes) -> bytes:
    """Bytes after their number: a name, a body."""
    return leb(len(content)) + content


def listed(items: Iterable[bytes]) -> bytes:
    """A list of what is encoded already."""
    items = list(items)
    return leb(len(items)) + b"".join(items)


def section(number: int, content: bytes) -> bytes:
    """A section."""
    return bytes([number]) + sized(content)
