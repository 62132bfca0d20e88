"""When the scheduler looks at what is ready, and whether it is quiet by then. What it then does is its own business."""

from __future__ import annotations

from collections.abc import Callable

from pie_core.control.environment import Environment

_HAIR_S = 1e-6  # so that no rounding makes a look come before its time
_PATIENCE = 16  # looks at a busy host before launching anyway, so that a flood of commands cannot starve the device


class Looks:
    """Has `look` called: once everything that can run now has run (`soon`), or at a time (`at`).

    It is *quiet* if nothing has changed since the look before: then every inferlet that could run has had its say, and
    nothing more will come until the device answers, or someone outside. After `_PATIENCE` looks that have each found a
    change, and nothing launched, it counts as quiet too.
    """

    def __init__(self, environment: Environment, look: Callable[[], None]) -> None:
        self._environment = environment
        self._look = look
        self._scheduled = False
        self._alarm: float | None = None  # when a look is due without anything having changed
        self._changed = True  # since the last look
        self._busy = 0  # looks in a row that found a change

    def soon(self) -> None:
        """Have a look once everything that can run now has run."""
        if not self._scheduled:
            self._scheduled = True
            self._environment.soon(self._look)

    def at(self, when: float, now: float) -> None:
        """Have a look then, if nothing makes one happen before. Both in seconds on the environment's clock."""
        if self._alarm is None or self._alarm > when:
            self._alarm = when
            self._environment.later(max(0.0, when - now) + _HAIR_S, lambda: self._ring(when))

    def change(self) -> None:
        """A command has come, or programs are about to be woken that may ask for more: give them one more turn."""
        self._changed = True

    def begin(self) -> None:
        """A look is taken, whoever asked for it; the next `soon` schedules another."""
        self._scheduled = False

    def listen(self) -> tuple[bool, bool]:
        """For a look that finds something to do: whether anything has changed since the one before, and whether it is
        quiet."""
        changed, self._changed = self._changed, False
        quiet = not changed or self._busy >= _PATIENCE
        self._busy = self._busy + 1 if changed else 0
        return changed, quiet

    def launched(self) -> None:
        """What was ready is on its way: patience begins anew."""
        self._busy = 0

    def _ring(self, when: float) -> None:
        if when == self._alarm:  # else an earlier one has taken its place; each look says when the next is due
            self._alarm = None
            self.soon()
