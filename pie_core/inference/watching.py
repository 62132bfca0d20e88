"""Having the time taken of all that handlers run, on the threads on which they run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pie_core.command import Command, Place
from pie_core.inference.running import Route
from pie_core.inference.staging import Stage

Ran = Callable[[str, Place, int, float, float], None]
"""Told of a batch, or a step, once it has run, well or badly: call, place, commands, when it began and ended."""


def watched(routes: Mapping[type[Command], Route], now: Callable[[], float], ran: Ran) -> dict[type[Command], Route]:
    """The same routes; each run of one is told of. now: seconds, on any thread. ran: called on the thread that ran it.

    A batch that failed and is run again command by command is told of each time.
    """
    return {kind: _watched(kind, route, now, ran) for kind, route in routes.items()}


def _watched(kind: type[Command], route: Route, now: Callable[[], float], ran: Ran) -> Route:
    name, place = kind.signature().name, kind.place

    def run(batch: Sequence[Command]) -> Sequence[Any] | None:
        called = f"stage_{batch[0].of.signature().name}" if isinstance(batch[0], Stage) else name
        began = now()
        try:
            return route(batch)
        finally:
            ran(called, place, len(batch), began, now())

    return run
