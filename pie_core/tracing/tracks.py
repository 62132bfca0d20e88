"""Numbers and names of tracks, and lanes for what overlaps in time."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

from pie_core.tracing.events import Name, TraceEvent

Put = Callable[[TraceEvent], None]


class Group:
    """A group of tracks under one name: an inferlet's, a model's. Any thread may ask for tracks."""

    def __init__(self, put: Put, pid: int, name: str) -> None:
        self.pid = pid
        self._put = put
        self._tids = count(1)
        put(Name("process_name", pid, 0, {"name": name}))

    def track(self, name: str) -> int:
        """The number of a new track."""
        tid = next(self._tids)
        self._put(Name("thread_name", self.pid, tid, {"name": name}))
        return tid

    def lanes(self, name: str) -> Lanes:
        """As many tracks as it takes."""
        return Lanes(self, name)


class Lanes:
    """Tracks for spans that overlap: each takes the first that is free, and gives it back when it is over."""

    def __init__(self, group: Group, name: str) -> None:
        self.pid = group.pid
        self._group = group
        self._name = name
        self._free: list[int] = []
        self._made = 0

    def take(self) -> int:
        """A track that nobody has."""
        if self._free:
            return heapq.heappop(self._free)
        self._made += 1
        return self._group.track(self._name if self._made == 1 else f"{self._name} ({self._made})")

    def give(self, tid: int) -> None:
        """The track is free from now on."""
        heapq.heappush(self._free, tid)
