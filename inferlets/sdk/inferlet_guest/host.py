"""`inferlet.host.Host` over the imports of the component: the door through which every call of a program leaves.

Every crossing costs, so the path of a call is a function written from its declaration, and a ticket is asked about
only when the server has said that it is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from inferlet.bindings import Declaration
from inferlet.errors import ArgumentError, PieError, from_code
from inferlet.host import Ticket as AnyTicket
from inferlet.host import current

from inferlet_guest.loop import Loop
from inferlet_guest.values import check_of

MESSAGES = ("receive", "receive_blob", "next_message", "receive_from_child")
"""Calls whose result goes to somebody else when the program gives up waiting for it."""


class Imports(Protocol):
    """What the component imports, found by the names of the declarations."""

    failure: type[Exception]
    """What an import raises; its `value` has `code` and `message`."""

    def function(self, trait: str, name: str) -> Callable[..., Any]:
        """An import by trait and name, in snake case."""
        ...

    def mask(self, rows: int, cols: int, data: bytes) -> Any:
        """A mask as the imports take it."""
        ...


class Ticket:
    """What a call that returns nothing gave: it may be forgotten for free."""

    __slots__ = ("_error", "_finished", "_host", "_take", "_value", "number")

    def __init__(self, host: GuestHost, number: int, take: Callable[[int], Any]) -> None:
        self.number = number
        self._host = host
        self._take = take
        self._finished = False  # the outcome is here

    @property
    def done(self) -> bool:
        """See `inferlet.host.Ticket.done`. Lets the server go on for a moment."""
        return self._finished or self._host.loop.look(self.number)

    @property
    def finished(self) -> bool:
        """Whether the outcome was taken."""
        return self._finished

    def result(self) -> Any:
        """See `inferlet.host.Ticket.result`. Suspends the whole program if it is not done."""
        if not self._finished:
            self._error: PieError | None = None
            self._value: Any = None
            try:
                self._value = self._take(self.number)
            except self._host.failure as error:
                self._error = _error_of(error)
            self._finished = True
        if self._error is not None:
            raise self._error.with_traceback(None)
        return self._value

    def give_up(self) -> None:
        """Leave the line of those who wait for a message."""
        self._finished = True
        self._error = ArgumentError("this read was given up while it waited; make a new one")
        self._host.dropped.append(self.number)


class ValueTicket(Ticket):
    """What a call that returns something gave; the server is told when nobody can ask for the result any more."""

    __slots__ = ()

    def __del__(self) -> None:
        if not self._finished:
            self._host.dropped.append(self.number)


class MessageTicket(ValueTicket):
    """A place in the line of those who wait for a message."""

    __slots__ = ()


class GuestHost:
    """The host of the one program of this component."""

    def __init__(
        self,
        imports: Imports,
        declarations: Iterable[Declaration],
        report: Callable[[str, BaseException | None], None],
    ) -> None:
        """report: see `Loop`."""
        self.failure = imports.failure
        self._report = report
        self._wait = imports.function("tickets", "wait")
        self._drop = imports.function("tickets", "drop")
        self._sleep = imports.function("runtime", "sleep")
        self._calls = {each["call"]: self._make_call(each, imports) for each in declarations}
        self.renew()

    def renew(self) -> None:
        """Be as new, for another program."""
        self.idle_queues: dict[str, list[int]] = {}  # see `inferlet.host.Host`
        self.dropped: list[int] = []  # tickets to let go of before the next wait
        self.loop = Loop(self, self._report)  # type: ignore[abstract]  # only to mypy; what is not there raises

    # for programs

    def call(self, name: str, model: str | None, queue: int | None, arguments: Sequence[Any]) -> Any:
        """See `inferlet.host.Host.call`."""
        try:
            call = self._calls[name]
        except KeyError:
            raise ArgumentError(f"no installed trait has a call {name!r}") from None
        try:
            return call(model, queue, arguments)
        except self.failure as error:
            raise _error_of(error) from None

    def defer(self, release: Callable[[], None]) -> None:
        """See `inferlet.host.Host.defer`."""
        if not self.loop.is_closed():
            self.loop.call_soon(self._release, release)

    async def wait(self, ticket: AnyTicket) -> Any:
        """See `inferlet.host.Host.wait`. While no other task can run, taking the result is what suspends."""
        assert isinstance(ticket, Ticket)
        if not ticket.finished and not self.loop.is_alone():
            arrived = self.loop.arrival(ticket.number)
            try:
                await arrived
            except asyncio.CancelledError:
                alone = self.loop.forget(ticket.number, arrived)
                if alone and isinstance(ticket, MessageTicket) and not ticket.finished:
                    ticket.give_up()
                raise
        elif self.dropped:
            self._let_go()
        return ticket.result()

    # for the loop

    def wait_any(self, tickets: list[int]) -> list[int]:
        """See `inferlet_guest.loop.Tickets.wait_any`."""
        if self.dropped:
            self._let_go()
        done: list[int] = self._wait(tickets)
        return done

    def _let_go(self) -> None:
        dropped, self.dropped = self.dropped, []
        self._drop(dropped)

    def sleep(self, seconds: float) -> int:
        """See `inferlet_guest.loop.Tickets.sleep`."""
        try:
            ticket: int = self._sleep(seconds)
        except self.failure as error:
            raise _error_of(error) from None
        return ticket

    def _release(self, release: Callable[[], None]) -> None:
        token = current.set(self)
        try:
            release()
        except PieError:
            pass  # the inferlet has ended: the server has taken everything back already
        finally:
            current.reset(token)

    def _make_call(self, declaration: Declaration, imports: Imports) -> Callable[..., Any]:
        name, trait, returns = declaration["call"], declaration["trait"], declaration["returns"]
        nothing = returns == "none"
        scope: dict[str, Any] = {"_function": imports.function(trait, name), "_host": self, "_complete": _complete}
        if declaration["future"]:
            scope["_Ticket"] = Ticket if nothing else MessageTicket if name in MESSAGES else ValueTicket
            scope["_take"] = (
                imports.function("tickets", "outcome") if nothing else imports.function(trait, f"{name}_result")
            )
        scope["_declaration"] = declaration
        scope["_queue"] = _queue
        for place, parameter in enumerate(declaration["parameters"]):
            scope[f"_check{place}"] = check_of(parameter["type"], imports.mask)
            scope[f"_where{place}"] = f"{name}: argument `{parameter['name']}`"
        exec(compile(source_of(declaration), f"<inferlet.{name}>", "exec"), scope)
        call: Callable[..., Any] = scope["call"]
        return call


def source_of(declaration: Declaration) -> str:
    """The Python source of the path of one call: check, cross, wrap."""
    target = declaration["target"]
    places = range(len(declaration["parameters"]))
    first = {"queue": ["_queue(queue, _declaration)"], "model": ["model"], "none": []}[target]
    crossing = f"_function({', '.join([*first, *[f'_check{n}(a{n}, _where{n})' for n in places]])})"
    lines = ["def call(model, queue, arguments):"]
    if places:
        lines += [
            f"    if len(arguments) != {len(places)}: arguments = _complete(arguments, _declaration)",
            f"    {''.join(f'a{n}, ' for n in places)}= arguments",
        ]
    lines.append(f"    return _Ticket(_host, {crossing}, _take)" if declaration["future"] else f"    return {crossing}")
    return "\n".join(lines)


def _complete(arguments: Sequence[Any], declaration: Declaration) -> Sequence[Any]:
    """All arguments, with the defaults of those that are not given."""
    parameters = declaration["parameters"]
    required = sum(parameter["required"] for parameter in parameters)
    if not required <= len(arguments) <= len(parameters):
        expected = str(len(parameters)) if required == len(parameters) else f"{required} to {len(parameters)}"
        raise ArgumentError(f"{declaration['call']} takes {expected} arguments, got {len(arguments)}")
    return (*arguments, *[parameter["default"] for parameter in parameters[len(arguments) :]])


def _queue(queue: Any, declaration: Declaration) -> int:
    if type(queue) is int and 0 <= queue < 1 << 32:
        return queue
    raise from_code("handle", f"{declaration['call']}: {queue!r:.60} is not a queue of this inferlet")


def _error_of(error: Any) -> PieError:
    return from_code(error.value.code, error.value.message)
