"""Commands that run in steps: those that are running on a device, all of a class together, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from pie_core.command import UNFINISHED, Command
from pie_core.errors import PieError
from pie_core.inference.running import Route, run_together
from pie_core.inference.wave import Entry

log = structlog.get_logger(__name__)

Conclusion = tuple[Any, Any, PieError | None]
"""An entry of a wave, with its result or its error."""
Concluded = Callable[[Sequence[Conclusion]], None]


@dataclass(frozen=True)
class Ride:
    """How commands that run in steps take part in batches of another command (`Command.rides`).

    take: gets all of them that are running, and the weight of the batch; for each what it would have run in it, or
    None. done: gets those whose commands have run in it.
    """

    kind: type[Command]
    take: Callable[[Sequence[Any], int], Sequence[Command | None]]
    done: Callable[[Sequence[Any]], object]


class Stepping:
    """The commands that run in steps. For the device thread, between waves.

    rode: whether the last wave took some of them a step further.
    """

    def __init__(self, routes: Mapping[type[Command], Route], rides: Mapping[type[Command], Ride]) -> None:
        self.rode = False
        self._routes = routes
        self._rides = rides
        self._running: dict[type[Command], list[Entry]] = {}
        self._further: set[int] = set()  # ids of those that have had their step already
        self._ended: list[Conclusion] = []

    def __bool__(self) -> bool:
        """Whether any is running, or has ended and was not told of."""
        return bool(self._running or self._ended)

    def begin(self, entries: Sequence[Entry]) -> None:
        """They are part of every step from now on, until they end."""
        for entry in entries:
            self._running.setdefault(entry.command.batch_kind(), []).append(entry)

    def riders(self, kind: type[Command], weight: int) -> list[tuple[Entry, Command]]:
        """Those that take part in a batch of this kind and weight, and what each has it run."""
        found: list[tuple[Entry, Command]] = []
        for running, entries in self._running.items():
            ride = self._rides.get(running)
            going = [entry for entry in entries if not entry.stopped and id(entry) not in self._further]
            if ride is None or ride.kind is not kind or not going:
                continue
            try:
                taken = ride.take([entry.command for entry in going], weight)
            except Exception as error:  # it comes up again, and to whom it belongs, when they take the step themselves
                log.warning("ride.failed", call=running.__name__, size=len(going), error=str(error))
                continue
            found += [(entry, command) for entry, command in zip(going, taken, strict=True) if command is not None]
        return found

    def have_ridden(self, entries: Sequence[Entry]) -> None:
        """What these had the batch run has run: their step is to be ended."""
        by_kind: dict[type[Command], list[Entry]] = {}
        for entry in entries:
            by_kind.setdefault(entry.command.batch_kind(), []).append(entry)
        for kind, going in by_kind.items():
            self._rides[kind].done([entry.command for entry in going])
            self._step(kind, going)
            self._further |= {id(entry) for entry in going}
            self.rode = True

    def step(self) -> list[Conclusion]:
        """One step of each that has not had it within the last wave; all that have ended.

        What was stopped ends without a result, and without a step.
        """
        for kind, entries in list(self._running.items()):
            if stopped := [entry for entry in entries if entry.stopped]:
                self._end(kind, [(entry, None, None) for entry in stopped])
            going = [entry for entry in entries if not entry.stopped and id(entry) not in self._further]
            if going:
                self._step(kind, going)
        self._further.clear()
        ended, self._ended = self._ended, []
        return ended

    def _step(self, kind: type[Command], going: Sequence[Entry]) -> None:
        outcomes = run_together(self._routes[kind], [entry.command for entry in going])
        ended = []
        for entry, (result, error) in zip(going, outcomes, strict=True):
            entry.share += 1 / len(going)
            if error is not None or result is not UNFINISHED:
                ended.append((entry, result, error))
        if ended:
            self._end(kind, ended)

    def _end(self, kind: type[Command], ended: Sequence[Conclusion]) -> None:
        gone = {id(entry) for entry, _, _ in ended}
        left = [entry for entry in self._running[kind] if id(entry) not in gone]
        if left:
            self._running[kind] = left
        else:
            del self._running[kind]
        self._ended += ended
