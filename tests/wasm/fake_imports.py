"""The imports of a component, played in this process: calls are noted, time passes only where something waits."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inferlet_guest.host import GuestHost
from inferlet_guest.loop import Loop


@dataclass
class WitError:
    """What an error record looks like."""

    code: str
    message: str


class Err(Exception):
    """What a generated function raises."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.value = WitError(code, message)


@dataclass
class WitMask:
    """What a mask looks like."""

    rows: int
    cols: int
    data: bytes


class FakeImports:
    """Answers by function name, given or set later; what is not set gives a ticket that is done after `delay` s."""

    failure = Err

    def __init__(self, **answers: Callable[..., Any]) -> None:
        self.now = 0.0
        self.delay = 0.0
        self.crossings: list[tuple[Any, ...]] = []
        self.dropped: list[int] = []
        self.answers = answers
        self._done_at: dict[int, float] = {}
        self._last = 0

    def function(self, trait: str, name: str) -> Callable[..., Any]:
        """See `Imports.function`."""

        def call(*arguments: Any) -> Any:
            self.crossings.append((name, *arguments))
            answer = self.answers.get(name) or getattr(self, f"_{name}", None) or self._ticket
            return answer(*arguments)

        return call

    def mask(self, rows: int, cols: int, data: bytes) -> WitMask:
        """See `Imports.mask`."""
        return WitMask(rows, cols, data)

    def names(self) -> list[str]:
        """What crossed, in order."""
        return [name for name, *_ in self.crossings]

    def done_in(self, seconds: float) -> int:
        """A ticket that is done after `seconds`."""
        self._last += 1
        self._done_at[self._last] = self.now + seconds
        return self._last

    def _ticket(self, *_: Any) -> int:
        return self.done_in(self.delay)

    def _sleep(self, seconds: float) -> int:
        return self.done_in(seconds)

    def _outcome(self, ticket: int) -> None:
        assert self._done_at[ticket] <= self.now, "asked about before it was done"

    def _wait(self, tickets: list[int]) -> list[int]:
        assert tickets and type(tickets) is list
        self.now = max(self.now, heapq.nsmallest(1, (self._done_at[ticket] for ticket in tickets))[0])
        return [ticket for ticket in tickets if self._done_at[ticket] <= self.now]

    def _drop(self, tickets: list[int]) -> None:
        self.dropped += tickets


class VirtualLoop(Loop):
    """The guest's loop on the clock of its imports."""

    imports: FakeImports

    def time(self) -> float:
        return self.imports.now


class Guest:
    """A host and a loop over fake imports; `reports` is what nobody caught."""

    def __init__(self, imports: FakeImports, declarations: Any = ()) -> None:
        self.imports = imports
        self.reports: list[tuple[str, BaseException | None]] = []
        self.host = GuestHost(imports, declarations, self._report)
        self.host.loop.__class__ = VirtualLoop
        self.host.loop.imports = imports  # type: ignore[attr-defined]
        self.loop = self.host.loop

    def _report(self, message: str, error: BaseException | None) -> None:
        self.reports.append((message, error))
