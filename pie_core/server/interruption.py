"""Ctrl-C and SIGTERM: the first one asks, the second one ends the process at once."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import FrameType, TracebackType
from typing import NoReturn, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While entered, the first signal calls `ask` with its number in the event loop.

    While `ask` is None there is nothing that could be ended in order (a model is being loaded by a thread that nobody
    can stop): then the first signal ends the process, with `early_code`. Signal handlers of Python's own, not of the
    loop: they also run while a program of the trusted tier keeps the loop busy. Main thread only.
    """

    def __init__(self, early_code: int) -> None:
        self.ask: Callable[[int], object] | None = None
        self._early_code = early_code
        self._asked = False
        self._loop = asyncio.get_running_loop()
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        self._wake_loop_on_signals()
        for number in SIGNALS:
            self._undo.callback(signal.signal, number, signal.signal(number, self._handle))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def _wake_loop_on_signals(self) -> None:
        """Python runs a handler when the main thread runs next, and a loop that just went to sleep may never do so."""
        wakes, woken = socket.socketpair()
        for end in (wakes, woken):
            end.setblocking(False)
            self._undo.enter_context(end)
        before = signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        self._undo.callback(signal.set_wakeup_fd, before)
        self._loop.add_reader(woken, woken.recv, 64)
        self._undo.callback(self._loop.remove_reader, woken)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            leave(128 + number)
        if self.ask is None:
            leave(self._early_code)
        self._asked = True
        self._loop.call_soon_threadsafe(self.ask, number)


def leave(code: int) -> NoReturn:
    """End the process now, without waiting for any thread."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(RuntimeError, OSError, ValueError):  # in the middle of a write, a closed pipe, closed: never mind
            stream.flush()
    os._exit(code)
