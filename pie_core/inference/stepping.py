"""Commands that run in steps: those that are running on a device, all of a class together, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pie_core.command import UNFINISHED, Command
from pie_core.errors import PieError
from pie_core.inference.running import Route, run_together
from pie_core.inference.wave import Entry

Conclusion = tuple[Any, Any, PieError | None]
"""An entry of a wave, with its result or its error."""
Concluded = Callable[[Sequence[Conclusion]], None]


class Stepping:
    """The commands that run in steps. For the device thread, between waves."""

    def __init__(self, routes: Mapping[type[Command], Route]) -> None:
        self._routes = routes
        self._running: dict[type[Command], list[Entry]] = {}

    def __bool__(self) -> bool:
        """Whether any is running."""
        return bool(self._running)

    def begin(self, entries: Sequence[Entry]) -> None:
        """They are part of every step from now on, until they end."""
        for entry in entries:
            self._running.setdefault(entry.command.batch_kind(), []).append(entry)

    def step(self) -> list[Conclusion]:
        """One step of each; those that have ended. What was stopped ends without a result, and without a step."""
        ended: list[Conclusion] = []
        for kind, entries in list(self._running.items()):
            ended += [(entry, None, None) for entry in entries if entry.stopped]
            going = [entry for entry in entries if not entry.stopped]
            left = []
            outcomes = run_together(self._routes[kind], [entry.command for entry in going]) if going else []
            for entry, (result, error) in zip(going, outcomes, strict=True):
                entry.share += 1 / len(going)
                if error is None and result is UNFINISHED:
                    left.append(entry)
                else:
                    ended.append((entry, result, error))
            if left:
                self._running[kind] = left
            else:
                del self._running[kind]
        return ended
