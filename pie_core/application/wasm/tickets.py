"""The tickets of one guest: results of futures until they are taken, and what a `wait` waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pie_core.control.ticket import Ticket
from pie_core.errors import HandleError, ResourceError

_SWEEP = 256  # open tickets from which on it is worth to look for those that nobody need ask about
_REPORTS = "synchronize"
_MOST = 65536  # calls under way, and results that a guest may leave lying about


class _Entry:
    __slots__ = ("call", "ticket", "watched")

    def __init__(self, ticket: Ticket, call: str) -> None:
        self.ticket = ticket
        self.call = call
        self.watched = False


class Tickets:
    """`wake` is called when something that the guest waits for may have come."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._open: dict[int, _Entry] = {}
        self._last = 0
        self._sweep_at = _SWEEP  # open tickets
        self._forgotten = 0  # up to this number, that a call failed may have been forgotten
        self._waiting: WaitingForTickets | WaitingForResult | None = None

    def check_room(self) -> None:
        """Raise `ResourceError` when too many results were not taken. To be asked before a call that gives a ticket."""
        if len(self._open) >= self._sweep_at:
            self._sweep()
            if len(self._open) >= _MOST:
                self._forget_errors()
            if len(self._open) >= _MOST:
                raise ResourceError(
                    f"{len(self._open)} results were not taken, the most allowed; await them, or drop the tickets that "
                    "are not needed"
                )
            self._sweep_at = min(_MOST, max(_SWEEP, 2 * len(self._open)))

    def add(self, ticket: Ticket, call: str) -> int:
        """A number for a ticket of the call `call`."""
        self._last += 1
        self._open[self._last] = _Entry(ticket, call)
        return self._last

    def result(self, number: int, call: str) -> WaitingForResult:
        """What a guest that takes the result of a ticket of `call` is suspended for. The ticket is gone then."""
        entry = self._open.get(number)
        if entry is None or entry.call != call:
            raise HandleError(f"{call}: {number} is no ticket of this call, or its result was taken before")
        return self._result(number, entry)

    def outcome(self, number: int) -> WaitingForResult:
        """The same for a call without a result. A ticket that is not known any more went well."""
        entry = self._open.get(number)
        if entry is None:
            self._check_issued(number)
            if number <= self._forgotten:
                raise ResourceError(
                    f"whether call {number} went well was forgotten, because {_MOST} results were not taken; await "
                    "calls earlier, or synchronize their queue, which reports its first error"
                )
        return self._result(number, entry)

    def drop(self, numbers: Sequence[int]) -> list[Ticket]:
        """Forget tickets; those that were open."""
        entries = [self._open.pop(number, None) for number in numbers]
        return [entry.ticket for entry in entries if entry is not None]

    def wait(self, numbers: Sequence[int]) -> WaitingForTickets:
        """What a guest that waits for any of these is suspended for. Raises `HandleError` for numbers never given out,
        and for none at all."""
        if not numbers:
            raise HandleError("wait: no ticket is named, so nothing can ever come")
        waiting = WaitingForTickets(self, numbers)
        for number in waiting.numbers:
            entry = self._open.get(number)
            if entry is None:
                self._check_issued(number)
                waiting.come = True
            elif entry.ticket.done:
                waiting.come = True
            else:
                self._watch(number, entry)
        self._waiting = None if waiting.come else waiting
        return waiting

    def done(self, numbers: Iterable[int]) -> list[int]:
        """Those that are done, or were forgotten."""
        found = []
        for number in numbers:
            entry = self._open.get(number)
            if entry is None or entry.ticket.done:
                found.append(number)
        return found

    def taken(self, number: int) -> Any:
        """The value of a ticket that is done, which is forgotten. Raises its error."""
        entry = self._open.pop(number, None)
        return None if entry is None else entry.ticket.result()

    def _result(self, number: int, entry: _Entry | None) -> WaitingForResult:
        waiting = WaitingForResult(self, number)
        if entry is None or entry.ticket.done:
            waiting.come, self._waiting = True, None
        else:
            self._watch(number, entry)
            self._waiting = waiting
        return waiting

    def _watch(self, number: int, entry: _Entry) -> None:
        if not entry.watched:
            entry.watched = True
            entry.ticket.watch(lambda _: self._arrived(number))

    def _check_issued(self, number: int) -> None:
        if not 0 < number <= self._last:
            raise HandleError(f"{number} was never a ticket of this inferlet")

    def _sweep(self) -> None:
        """Forget what is done without a result; the queue has its own memory of errors."""
        idle = [n for n, e in self._open.items() if e.ticket.done and e.ticket.error is None and e.ticket.value is None]
        for number in idle:
            del self._open[number]

    def _forget_errors(self) -> None:
        """Forget what failed, so that calls which nobody awaits do not fill the room for good. Of commands the queue
        remembers the first error; what reports that is kept."""
        failed = [n for n, e in self._open.items() if e.ticket.error is not None and e.call != _REPORTS]
        for number in failed:
            del self._open[number]
        self._forgotten = max([self._forgotten, *failed])

    def _arrived(self, number: int) -> None:
        """However many tickets are waited for, one that is done costs the same."""
        waiting = self._waiting
        if waiting is not None and number in waiting.numbers:
            waiting.come, self._waiting = True, None
            self._wake()


class WaitingForTickets:
    """See `linking.Waiting`."""

    __slots__ = ("_tickets", "come", "numbers")

    def __init__(self, tickets: Tickets, numbers: Sequence[int]) -> None:
        self._tickets = tickets
        self.numbers = dict.fromkeys(numbers)  # each once, in order
        self.come = False

    def ready(self) -> bool:
        return self.come

    def value(self) -> list[int]:
        return self._tickets.done(self.numbers)


class WaitingForResult:
    """For one ticket, whose result is wanted at once. See `linking.Waiting`."""

    __slots__ = ("_tickets", "come", "numbers")

    def __init__(self, tickets: Tickets, number: int) -> None:
        self._tickets = tickets
        self.numbers = (number,)
        self.come = False

    def ready(self) -> bool:
        return self.come

    def value(self) -> Any:
        return self._tickets.taken(self.numbers[0])
