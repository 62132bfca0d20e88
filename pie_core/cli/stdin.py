"""Delivers the lines of a file descriptor, by a thread: a terminal, a pipe and a file can all be read that way."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Awaitable, Callable, Iterator

import click

from pie_core.errors import PieError, TerminatedError


def deliver_lines(
    descriptor: int, deliver: Callable[[str], Awaitable[None]], loop: asyncio.AbstractEventLoop
) -> threading.Thread:
    """Deliver each line, without its end, in order, until the end of the input or of the program."""

    async def one(line: str) -> None:
        await deliver(line)

    def work() -> None:
        for line in _lines(descriptor):
            try:
                asyncio.run_coroutine_threadsafe(one(line), loop).result()
            except (TerminatedError, RuntimeError):
                return  # the program, or the loop, has ended: nobody is left to read
            except PieError as error:
                click.echo(f"from this line of stdin on nothing is delivered: {error}", err=True)
                return

    thread = threading.Thread(target=work, name="pie-stdin", daemon=True)
    thread.start()
    return thread


def _lines(descriptor: int) -> Iterator[str]:
    """Lines of an unbuffered file: a buffered one would hold a lock that blocks the end of the process."""
    rest = b""
    with io.FileIO(descriptor, "rb", closefd=False) as file:
        while piece := file.read(65536):
            *whole, rest = (rest + piece).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in whole)
    if rest:
        yield rest.decode("utf-8", "replace")
