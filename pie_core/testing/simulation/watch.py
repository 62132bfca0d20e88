"""Taps every way into one control layer, and checks all rules after every step of the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pie_core.control.layer import ControlLayer
from pie_core.control.space import Space
from pie_core.control.ticket import Ticket
from pie_core.errors import PieError, TerminatedError
from pie_core.resource import Embed, KvPage, Resource
from pie_core.testing.simulation.books import Books
from pie_core.testing.simulation.ledger import Ledger
from pie_core.testing.simulation.loop import VirtualLoop
from pie_core.testing.simulation.stage import Stage

_STUCK_S = 10_000.0  # virtual seconds after which whatever still runs never ends


class Violation(Exception):  # noqa: N818  # what was found, not what went wrong here
    """A rule that the system under test has broken."""


class Watch:
    """The log of a run and its first broken rule.

    The books are compared only after steps in which the control layer was at work. prompt: the dispatch policy leaves
    no device idle. stages: by inferlet.
    """

    def __init__(self, loop: VirtualLoop, stages: Mapping[str, Stage], prompt: bool) -> None:
        self.log: list[str] = []
        self.ledger: Ledger
        self._loop = loop
        self._stages = stages
        self._prompt = prompt
        self._layer: ControlLayer
        self._books: Books
        self._ended: set[str] = set()  # owners of closed spaces
        self._first: str | None = None
        self._worked = True

    def attach(self, layer: ControlLayer, in_turn: bool) -> None:
        """Watch this layer from now on; the ledger is there already. in_turn: see `Books`."""
        self._layer, self._books = layer, Books(layer, self.ledger, self.complain, in_turn)
        self._call, self._close = layer.call, layer.close
        layer.call = self._tapped_call  # type: ignore[method-assign]  # of this one layer
        layer.close = self._tapped_close  # type: ignore[method-assign]

    def say(self, what: str) -> None:
        """A line of the log."""
        self.log.append(f"{self._loop.steps:5d} {self._loop.time():9.4f}  {what}")

    def tell(self, what: str) -> None:
        """The same, of what the control layer does in this step."""
        self._worked = True
        self.say(what)

    def complain(self, what: str) -> None:
        """Note a broken rule; the run ends with the step."""
        self.say(f"BROKEN {what}")
        self._first = self._first or what

    def soon(self, function: Callable[[], None]) -> None:
        """The layer's `soon`."""
        self._loop.call_soon(self._work, function)

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """The layer's `later`."""
        self._loop.call_later(seconds, self._work, function)

    def _work(self, function: Callable[[], None]) -> None:
        self._worked = True
        function()

    def check(self) -> None:
        """After a step. Raises `Violation`."""
        if self._worked:
            self._worked = False
            self.ledger.settle(self._ended)
            self._books.check()
            self._check_beliefs()
        if self._loop.failures:
            self.complain(self._loop.failures[0])
        self.report()

    def check_rest(self) -> None:
        """Nothing can run until time moves: all that could be launched must be on its way. Raises `Violation`."""
        if self._prompt and self.ledger.in_flight is None:
            for entry in self.ledger.ready():
                self.complain(f"{entry} is ready and the device idle, and nothing will happen")
        if self._loop.time() > _STUCK_S:
            self.complain("the simulation does not end")
        self.report()

    def report(self) -> None:
        """Raise `Violation` if a rule was broken."""
        if self._first is not None:
            raise Violation(self._first)

    def _check_beliefs(self) -> None:
        """What programs know of their pages and Embeds, from what they did alone, is what the host knows."""
        for space in self._layer.spaces.values():
            known = self._stages[space.owner]
            for handle, page in known.pages.items():
                record = space.tables[KvPage][handle]
                if page.used is not None and (record.used, record.hidden) != (page.used, page.hidden):
                    self.complain(
                        f"{space.owner} filled {page.used:b} of page {handle} and hid {page.hidden:b}; the books say "
                        f"{record.used:b} and {record.hidden:b}"
                    )
            for handle, embed in known.embeds.items():
                place = space.tables[Embed][handle].position
                if place != embed.position:
                    self.complain(f"{embed} of {space.owner} stands elsewhere in the books: at {place}")

    def _tapped_call(self, space: Space, name: str, queue: int | None, arguments: Sequence[Any]) -> Any:
        self._worked = True
        self._books.begin()
        before = {kind: set(table) for kind, table in space.tables.items()} if name.startswith("alloc") else {}
        try:
            result = self._call(space, name, queue, arguments)
        except PieError as error:
            self.say(f"{space.owner} {name} refused: {error.code}")
            raise
        if space.owner not in self._layer.spaces:
            self.complain(f"{space.owner} has ended, and its call of {name} was served")
        if isinstance(result, Ticket):
            submission = next(reversed(space.queues[queue or 0].outstanding.values()))
            self.say(f"{self.ledger.accept(submission, space.owner)} accepted")
        else:
            self.say(f"{space.owner} {name}")
        for kind, known in before.items():
            fresh: list[Resource] = [r for handle, r in space.tables[kind].items() if handle not in known]
            self._books.wait(space.owner, kind, fresh)
        return result

    def _tapped_close(self, space: Space, why: TerminatedError | None = None) -> None:
        self._worked = True
        there = space.owner in self._layer.spaces
        self._ended.add(space.owner)
        self._books.ended(space.owner)
        self._close(space, why)
        if there:
            self.ledger.check_dropped(space.owner)
