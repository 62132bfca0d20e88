"""Taps every way into one control layer, and checks all rules after every step of the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pie_core.control.layer import ControlLayer
from pie_core.control.space import Space
from pie_core.control.swapping import Transfer
from pie_core.control.ticket import Ticket
from pie_core.errors import PieError, TerminatedError
from pie_core.inference.wave import Wave
from pie_core.resource import Embed, KvPage, Resource
from pie_core.testing.simulation.books import Books
from pie_core.testing.simulation.cycles import Cycles
from pie_core.testing.simulation.entry import Entry
from pie_core.testing.simulation.ledger import Ledger
from pie_core.testing.simulation.loop import VirtualLoop
from pie_core.testing.simulation.stage import Stage
from pie_core.testing.simulation.watched import WatchedContention, WatchedDispatch

_UNTIDY_S = 100.0  # virtual seconds without any change after which exports are withdrawn
_ENDLESS = 20_000  # steps, likewise
_STUCK_S = 10_000.0  # virtual seconds after which whatever still runs never ends


class Violation(Exception):  # noqa: N818  # what was found, not what went wrong here
    """A rule that the system under test has broken."""


class Watch:
    """The log of a run and its first broken rule.

    The books are compared only after steps in which the control layer was at work. stages: by inferlet.
    """

    def __init__(self, loop: VirtualLoop, stages: Mapping[str, Stage]) -> None:
        self.log: list[str] = []
        self.ledger: Ledger
        self._loop = loop
        self._stages = stages
        self._layer: ControlLayer
        self._books: Books
        self._dispatch: WatchedDispatch
        self._cycles: Cycles
        self._calling: tuple[Space, int] | None = None  # whose call is being served, and the queue it names
        self._changed_at = 0.0  # when something was last asked of the control layer, launched or completed
        self._first: str | None = None
        self._worked = True

    def attach(self, layer: ControlLayer, dispatch: WatchedDispatch, contention: WatchedContention) -> None:
        """Watch this layer with these policies from now on; the ledger is there already."""
        self._layer, self._dispatch = layer, dispatch
        self._books = Books(layer, self.ledger, self.complain, contention.oldest_first)
        self._cycles = Cycles(layer, self.ledger, self._books, contention.cycle_s)
        contention.attach(layer, self._cycles)
        self._call, self._close, self._release = layer.call, layer.close, layer.memory.release
        layer.call = self._tapped_call  # type: ignore[method-assign]  # of this one layer
        layer.close = self._tapped_close  # type: ignore[method-assign]
        layer.memory.release = self._tapped_release  # type: ignore[method-assign]

    def say(self, what: str) -> None:
        """A line of the log."""
        self.log.append(f"{self._loop.steps:5d} {self._loop.time():9.4f}  {what}")

    def tell(self, what: str) -> None:
        """The same, of what the control layer does in this step."""
        self._worked = True
        self._changed_at = self._loop.time()
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
            self.ledger.settle()
            self.ledger.check_left()
            self._books.check()
            self._dispatch.check()
            self._check_beliefs()
        if self._loop.steps > _ENDLESS:
            self.complain(f"the simulation does not end: {self._loop.steps} steps in {self._loop.time():.4f} s")
        if self._loop.failures:
            self.complain(self._loop.failures[0])
        self.report()

    def check_rest(self) -> None:
        """Nothing can run until time moves: all that could be launched must be on its way. Raises `Violation`."""
        self._dispatch.check_rest(self._loop.time())
        if self._layer.memory.swapping.transfers:
            self.complain("something is to be moved, and nothing will happen")
        still = self._loop.time() - self._changed_at
        if still > self._cycles.longest_s and (kind := self._cycles.find()):
            self.complain(f"all that hold {kind.kind}s have waited for more for {still:.2f} s, and nobody gives way")
        if still > _UNTIDY_S and self._layer.memory.waited_for:
            self._tidy()
        if self._loop.time() > _STUCK_S:
            self.complain("the simulation does not end")
        self.report()

    def _tidy(self) -> None:
        """Somebody has waited for long, maybe for what no inferlet holds: users withdraw what they exported."""
        for user, exports in list(self._layer.memory._exports._by_user.items()):
            for name, export in list(exports.items()):
                self.tell(f"{user} is to release {name}, for somebody waits")
                if export.owner in self._layer.spaces:
                    self._stages[export.owner].tainted = True
                self._layer.memory.release(user, name)

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
                if page.used is not None and not page.may_be(record.used, record.hidden, record.reserved):
                    self.complain(
                        f"{space.owner} filled {page.used:b} of page {handle}, hid {page.hidden:b} and has "
                        f"{page.stays} under way; the books say {record.used:b}, {record.hidden:b} and "
                        f"{record.reserved:b}"
                    )
            for handle, embed in known.embeds.items():
                place = space.tables[Embed][handle].position
                if place != embed.position:
                    self.complain(f"{embed} of {space.owner} stands elsewhere in the books: at {place}")

    def told(self, wave: Wave[Any]) -> None:
        """A wave is about to be launched."""
        self.notice()
        if any(not isinstance(entry, Transfer) for entry in wave.batches[-1].entries):
            self._dispatch.launch()

    def lost(self, owner: str) -> None:
        """What was moved for an inferlet, or still was to run for others, is gone: what follows depends on timing."""
        self.tell(f"{owner} has lost what was moved for it or still to run")
        self._stages[owner].tainted = True

    def notice(self) -> Entry | None:
        """Enter the command of the call that is being served, as soon as there is one."""
        if self._calling is None:
            return None
        space, handle = self._calling
        queue = space.queues.get(handle)
        last = next(reversed(queue.outstanding.values()), None) if queue is not None else None
        if last is None or self.ledger.knows(last):
            return None
        entry = self.ledger.accept(last, space.owner)
        self.say(f"{entry} accepted")
        return entry

    def _tapped_call(self, space: Space, name: str, queue: int | None, arguments: Sequence[Any]) -> Any:
        self._worked = True
        self._changed_at = self._loop.time()
        self._books.begin()
        before = {kind: set(table) for kind, table in space.tables.items()} if name.startswith("alloc") else {}
        asked, self._calling = self._dispatch.asked, (space, queue or 0)
        try:
            result = self._call(space, name, queue, arguments)
        except PieError as error:
            self.say(f"{space.owner} {name} refused: {error.code}")
            raise
        else:
            entry = self.notice()
        finally:
            self._calling = None
        if space.owner not in self._layer.spaces:
            self.complain(f"{space.owner} has ended, and its call of {name} was served")
        if not isinstance(result, Ticket):
            self.say(f"{space.owner} {name}")
        elif self._dispatch.immediate and self._dispatch.asked == asked and entry in list(self.ledger.ready()):
            self.complain(f"{entry} is ready, and the dispatch policy was not asked at once")
        for kind, known in before.items():
            fresh: list[Resource] = [r for handle, r in space.tables[kind].items() if handle not in known]
            self._books.lines[kind].enter(space.owner, space.arrival, fresh)
        return result

    def _tapped_close(self, space: Space, why: TerminatedError | None = None) -> None:
        self._worked = True
        self._changed_at = self._loop.time()
        there = space.owner in self._layer.spaces
        self.ledger.ended.add(space.owner)
        self._close(space, why)
        if there:
            self.ledger.check_dropped(space.owner)

    def _tapped_release(self, user: str, name: str) -> None:
        """By a call, or because its time is over: who waits may get what it held, and all count their time anew."""
        self._release(user, name)
        self.tell(f"{name} of {user} is withdrawn")
