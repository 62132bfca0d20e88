"""Who runs and who waits: launches of clients take their turns, and there is an end to the line.

Within a user first come, first served. Between users the turn goes to the one who has the fewest running (max-min
fairness), and nobody fills the line alone: a user may take `_SHARE` times the room that is left (Choudhury and Hahne,
"Dynamic Queue Length Thresholds", 1998), so that there is always some for one who comes later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pie_core.errors import BusyError

_SHARE = 8  # a lone user gets 8/9 of the line, each of two 8/17


@dataclass
class _Waiting:
    """The launches of one user that wait: start, bytes and place in line, by id."""

    launches: dict[str, tuple[Callable[[], None], int, int]] = field(default_factory=dict)
    bytes: int = 0

    @property
    def first(self) -> int:
        """The place of the one that has waited longest."""
        return next(iter(self.launches.values()))[2]


class Line:
    """`at_once` run; `most` wait, whose programs, arguments and blobs weigh `most_bytes` at most."""

    def __init__(self, at_once: int, most: int, most_bytes: int) -> None:
        self._at_once = at_once
        self._most = most
        self._most_bytes = most_bytes
        self._running: dict[str, str] = {}  # user, by id
        self._running_of: Counter[str] = Counter()
        self._waiting: dict[str, _Waiting] = {}  # by user
        self._users: dict[str, str] = {}  # of those who wait, by id
        self._bytes = 0
        self._places = 0
        self.refused = 0  # since start

    @property
    def running(self) -> int:
        """How many have their turn."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many have not."""
        return len(self._users)

    def waits(self, who: str) -> bool:
        """Whether somebody has to wait still."""
        return who in self._users

    def check_room(self, user: str, size: int) -> None:
        """Raise `BusyError` if one more of this user, of so many bytes, could neither run nor wait."""
        if len(self._running) < self._at_once:
            return
        own = self._waiting.get(user, _Waiting())
        free, free_bytes = self._most - self.waiting, self._most_bytes - self._bytes
        if free <= 0 or len(own.launches) >= _SHARE * free:
            raise self._busy(f"{self.waiting} launches wait, {len(own.launches)} of them of user {user!r}")
        if size > free_bytes or own.bytes > _SHARE * free_bytes:
            raise self._busy(f"what waits has {self._bytes} bytes, {own.bytes} of them of user {user!r}")

    def _busy(self, why: str) -> BusyError:
        self.refused += 1
        return BusyError(f"{len(self._running)} inferlets run already, the most allowed, and {why}; try again later")

    def enter(self, who: str, user: str, size: int, start: Callable[[], None]) -> None:
        """Call `start` now, or when it is its turn. `check_room` comes first."""
        if len(self._running) < self._at_once:
            self._run(who, user, start)
            return
        own = self._waiting.setdefault(user, _Waiting())
        self._places += 1
        own.launches[who] = start, size, self._places
        own.bytes += size
        self._bytes += size
        self._users[who] = user

    def leave(self, who: str) -> None:
        """One has ended, whether it had its turn or not. Others are not its business."""
        if who in self._users:
            self._take(who)
        elif who in self._running:
            user = self._running.pop(who)
            self._running_of[user] -= 1
            if not self._running_of[user]:
                del self._running_of[user]
            if self._waiting:
                self._serve()

    def _serve(self) -> None:
        user = min(self._waiting, key=lambda user: (self._running_of[user], self._waiting[user].first))
        who = next(iter(self._waiting[user].launches))
        self._run(who, user, self._take(who))

    def _run(self, who: str, user: str, start: Callable[[], None]) -> None:
        self._running[who] = user
        self._running_of[user] += 1
        start()

    def _take(self, who: str) -> Callable[[], None]:
        """Out of the line."""
        user = self._users.pop(who)
        own = self._waiting[user]
        start, size, _ = own.launches.pop(who)
        own.bytes -= size
        self._bytes -= size
        if not own.launches:
            del self._waiting[user]
        return start
