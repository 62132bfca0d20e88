"""How long steps take and plans, as the host sees it: whether the device would run dry while the host plans."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable


class Pace:
    """Of steps that follow each other on the device. Times in seconds."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now
        self._steps_s: deque[float] = deque(maxlen=8)
        self._plans_s: deque[float] = deque(maxlen=8)
        self._arrived_at = -float("inf")

    def arrived(self) -> None:
        """A step has ended, just now; the next one, if it was launched, has begun."""
        now = self.now()
        self._steps_s.append(now - self._arrived_at)
        self._arrived_at = now

    def planned(self, seconds: float) -> None:
        """So long a plan took."""
        self._plans_s.append(seconds)

    def too_late_to_plan(self) -> bool:
        """Whether the step that runs now will probably end before a plan is made."""
        if not self._steps_s or not self._plans_s:
            return False
        left_s = self._arrived_at + min(self._steps_s) - self.now()
        return left_s < sorted(self._plans_s)[len(self._plans_s) // 2]
