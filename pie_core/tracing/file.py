"""The file that events are written to, by a thread of its own: nobody who tells of something waits for the disk."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from pie_core.errors import ConfigError
from pie_core.tracing.events import Mark, TraceEvent, microseconds

log = structlog.get_logger(__name__)

_EVERY_S = 0.2  # how often what has come is written; so much is missing of a process that is killed
_AT_ONCE = 512  # events, so that the others get their turn while the thread encodes
_PAGE = 4096
LOST = "events were lost"
_OPEN, _BETWEEN, _CLOSE = b"[\n", b",\n", b"\n]\n"


class TraceFile:
    """A JSON array of events, whole as far as it was written; if the process is killed only the last `]` is missing.

    At most `most` events wait for the disk; what comes beyond is lost, and the trace says so. If the disk takes no more
    the file ends with the last whole event and everything that comes is lost, with one warning.
    """

    def __init__(self, path: Path, now: Callable[[], float], most: int = 1 << 16) -> None:
        """Make the file, or empty it. now: seconds, on any thread. Raises `ConfigError`."""
        self._path = path
        self._now = now
        self._most = most
        self._bytes = 0  # of whole events
        self._waiting: deque[TraceEvent] = deque()
        self._lost = 0
        self._lock = threading.Lock()  # of `_lost` alone
        self._wake = threading.Event()
        self._closing = False
        self._separator = _OPEN
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise ConfigError(f"--trace-file {path} cannot be written: {error.strerror}") from error
        self._encoder = msgspec.json.Encoder()
        self._thread = threading.Thread(target=self._work, name="pie-trace", daemon=True)
        self._thread.start()

    def put(self, event: TraceEvent) -> None:
        """Have an event written soon. Any thread; waits for nothing."""
        if len(self._waiting) >= self._most:
            with self._lock:
                self._lost += 1
            return
        self._waiting.append(event)
        if len(self._waiting) == self._most // 2:
            self._wake.set()

    def close(self) -> None:
        """Write what is left, and the end. Idempotent."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _work(self) -> None:
        with self._file:
            while not self._closing:
                self._wake.wait(_EVERY_S)
                self._wake.clear()
                if not self._write_waiting():
                    return
            self._write_waiting()
            self._write(_CLOSE if self._separator is _BETWEEN else _OPEN + _CLOSE)

    def _write_waiting(self) -> bool:
        while self._waiting:
            chunk = bytearray()
            for _ in range(min(len(self._waiting), _AT_ONCE)):
                self._add(chunk, self._waiting.popleft())
            if lost := self._take_lost():
                log.warning("trace.behind", file=str(self._path), lost=lost)
                self._add(chunk, Mark(LOST, 0, 0, microseconds(self._now()), {"lost": lost}))
            if not self._write(chunk):
                return False
        return True

    def _add(self, chunk: bytearray, event: TraceEvent) -> None:
        """Within a page: a process is killed between two pages of a write at the most, and so leaves no half event."""
        data = self._separator + self._encoder.encode(event)
        room = _PAGE - (self._bytes + len(chunk)) % _PAGE
        if room < len(data) <= _PAGE:
            chunk += b" " * room
        chunk += data
        self._separator = _BETWEEN

    def _take_lost(self) -> int:
        with self._lock:
            lost, self._lost = self._lost, 0
        return lost

    def _write(self, data: bytes | bytearray) -> bool:
        """Write all of it or nothing; False if there will be no more."""
        written = 0
        try:
            while written < len(data):
                page = _PAGE - (self._bytes + written) % _PAGE
                written += self._file.write(memoryview(data)[written : written + page])
        except OSError as error:
            self._stop(error)
            return False
        self._bytes += written
        return True

    def _stop(self, error: OSError) -> None:
        self._most = 0  # nothing is kept any more
        self._waiting.clear()
        log.warning("trace.stopped", file=str(self._path), error=str(error), bytes=self._bytes)
        with suppress(OSError):  # a pipe or a device has what it has
            self._file.truncate(self._bytes)
