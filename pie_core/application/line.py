"""Who runs and who waits: launches of clients take their turns, and there is an end to the line."""

from __future__ import annotations

from collections.abc import Callable

from pie_core.errors import BusyError


class Line:
    """`at_once` run; `most` wait, whose programs, arguments and blobs weigh `most_bytes` at most. First come, first
    served."""

    def __init__(self, at_once: int, most: int, most_bytes: int) -> None:
        self._at_once = at_once
        self._most = most
        self._most_bytes = most_bytes
        self._running: set[str] = set()
        self._waiting: dict[str, tuple[Callable[[], None], int]] = {}  # start and bytes, by id, in order
        self._bytes = 0
        self.refused = 0  # since start

    @property
    def running(self) -> int:
        """How many have their turn."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many have not."""
        return len(self._waiting)

    def waits(self, who: str) -> bool:
        """Whether somebody has to wait still."""
        return who in self._waiting

    def check_room(self, size: int) -> None:
        """Raise `BusyError` if one more, of so many bytes, could neither run nor wait."""
        if len(self._running) < self._at_once:
            return
        if len(self._waiting) >= self._most:
            raise self._busy(f"{len(self._waiting)} launches wait")
        if self._bytes + size > self._most_bytes:
            raise self._busy(f"what waits has {self._bytes} bytes")

    def _busy(self, why: str) -> BusyError:
        self.refused += 1
        return BusyError(f"{len(self._running)} inferlets run already, the most allowed, and {why}; try again later")

    def enter(self, who: str, size: int, start: Callable[[], None]) -> None:
        """Call `start` now, or when it is its turn. `check_room` comes first."""
        if len(self._running) < self._at_once:
            self._running.add(who)
            start()
        else:
            self._waiting[who] = start, size
            self._bytes += size

    def leave(self, who: str) -> None:
        """One has ended, whether it had its turn or not. Others are not its business."""
        if who in self._waiting:
            self._bytes -= self._waiting.pop(who)[1]
        elif who in self._running:
            self._running.discard(who)
            if self._waiting:
                following = next(iter(self._waiting))
                start, size = self._waiting.pop(following)
                self._bytes -= size
                self._running.add(following)
                start()
