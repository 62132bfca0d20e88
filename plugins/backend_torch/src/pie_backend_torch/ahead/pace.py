"""How long steps take and plans: how far to run ahead, and whether the device would run dry while the host plans."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

AHEAD_S = 4e-3  # of steps that may wait on the device: as long as the host may well be held up
MOST_AHEAD = 4  # steps
_SOON = 8  # steps


class Pace:
    """Of steps that follow each other on the device. Times in seconds."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now
        self._steps_s: deque[float] = deque(maxlen=_SOON)
        self._plans_s: deque[float] = deque(maxlen=_SOON)
        self._arrived_at = -float("inf")
        self._shared = 0  # steps for which not to run far ahead

    def arrived(self, after_s: float | None) -> None:
        """A step has ended, on the device so long after the one before it, if there was one."""
        self._arrived_at = self.now()
        self._shared = max(0, self._shared - 1)
        if after_s is not None:
            self._steps_s.append(after_s)

    def planned(self, seconds: float) -> None:
        """So long a plan took."""
        self._plans_s.append(seconds)

    def shared(self) -> None:
        """Somebody else wants the device for a short pass, and an answer, and probably will again."""
        self._shared = _SOON

    @property
    def ahead(self) -> int:
        """How many steps may be on the device before the host waits for the first of them; one at least."""
        if self._shared or not self._steps_s:
            return 1
        return max(1, min(MOST_AHEAD, int(AHEAD_S / max(1e-6, self._step_s))))

    def too_late_to_plan(self, launched: int) -> bool:
        """Whether the steps that are on the device will probably end before a plan is made."""
        if not self._steps_s or not self._plans_s:
            return False
        left_s = self._arrived_at + launched * self._step_s - self.now()
        return left_s < sorted(self._plans_s)[len(self._plans_s) // 2]

    @property
    def _step_s(self) -> float:
        return min(self._steps_s)  # what was launched late seems to take longer
