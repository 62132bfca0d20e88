"""One inferlet's door to the server: every call it makes, in whatever tier, comes through `Host.call`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from pie_core.application.channel import Reading
from pie_core.application.children import Children, Launcher
from pie_core.application.inferlet import Inferlet
from pie_core.application.observer import InferletObserver
from pie_core.application.runtime import RUNTIME
from pie_core.application.services import Services
from pie_core.application.topics import Subscriptions
from pie_core.application.work import Work
from pie_core.control.binder import Binder
from pie_core.control.queue import Queue
from pie_core.control.space import Space
from pie_core.control.ticket import Ticket
from pie_core.errors import ArgumentError, HandleError, PieError, TerminatedError, nearest
from pie_core.loaded import LoadedModel


class Alarm(Protocol):
    """Something that will happen, unless it is cancelled."""

    def cancel(self) -> None:
        """Let it not happen."""
        ...


SetAlarm = Callable[[float, Callable[[], None]], Alarm]
"""Calls a function after so many seconds (`loop.call_later`)."""


class Host:
    """Bound to one inferlet. Not thread-safe: control thread only."""

    def __init__(
        self,
        inferlet: Inferlet,
        models: Mapping[str, LoadedModel],
        set_alarm: SetAlarm,
        services: Services,
        launcher: Launcher,
    ) -> None:
        self.inferlet = inferlet
        self.models = models
        self.set_alarm = set_alarm
        self.services = services
        self.requests = Work("the request")  # over the network, under way
        self.subscriptions = Subscriptions(services.topics, inferlet.user, inferlet.limits)
        self.children = Children(inferlet, launcher)
        self.accesses: dict[Ticket, int] = {}  # to the store, not done yet; how much each carries
        self._alarms: dict[Ticket, Alarm] = {}
        inferlet.ended.watch(lambda _: self._close())
        self._spaces: dict[str, Space] = inferlet.spaces

    def call(self, name: str, model: str | None, queue: int | None, arguments: Sequence[Any]) -> Any:
        """Make a call: the result, or a `Ticket`. Raises `PieError`; then nothing was done."""
        runtime = RUNTIME_CALLS.get(name)
        if runtime is not None:
            self.inferlet.check_running()
            return runtime.bind(None, arguments).apply(self, model, queue)
        space = self._spaces.get(model) if model is not None else None  # the hot path; `space` is the careful one
        return (space or self.space(model)).call(name, queue, arguments)

    def model(self, name: str | None) -> LoadedModel:
        """A loaded model by name; the default one for None."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise ArgumentError(f"no model is named {name!r}{nearest(name, self.models)}")
        return self.models[name]

    def space(self, model: str | None) -> Space:
        """The inferlet's address space of a model."""
        return self.inferlet.space(self.model(model).info.name)

    def queue(self, model: str | None, queue: int | None, where: str) -> Queue:
        """A queue of the inferlet."""
        if queue is None:
            raise HandleError(f"{where}: pass a queue first")
        return self.space(model).queue(queue, where)

    def sleep(self, seconds: float) -> Ticket:
        """A ticket for later."""
        ticket = Ticket()
        self._alarms[ticket] = self.set_alarm(seconds, ticket.resolve)
        ticket.watch(lambda done: self._alarms.pop(done).cancel())
        return ticket

    def access_done(self, ticket: Ticket) -> None:
        """The store has done what it was asked for."""
        del self.accesses[ticket]

    def abandon(self, ticket: Ticket) -> None:
        """Nobody waits for a ticket of this inferlet any more: what it would have taken stays, its alarm is off."""
        if isinstance(ticket, Reading):
            ticket.give_up()
        elif ticket in self._alarms:
            ticket.resolve()

    def _close(self) -> None:
        for ticket in list(self._alarms):
            ticket.fail(TerminatedError(f"inferlet {self.inferlet.id} has ended"))
        self.requests.cancel()
        self.subscriptions.close()
        self.children.close()

    def model_facts(self, model: str | None) -> str:
        """The facts of a model and its traits, as JSON."""
        loaded = self.model(model)
        facts = dataclasses.asdict(loaded.info) | {"traits": list(loaded.traits)}
        return msgspec.json.encode(facts).decode()

    def debug(self, model: str | None, queue: int | None, what: str) -> str:
        """See `debug_query`."""
        layer = self.model(model).layer
        space = self.space(model)
        views: dict[str, Callable[[], Any]] = {
            "queue": lambda: {
                "outstanding": [
                    submission.command.signature().name
                    for submission in self.queue(model, queue, "debug_query").outstanding.values()
                ],
                "priority": self.queue(model, queue, "debug_query").priority,
            },
            "space": lambda: {kind.kind: space.holds(kind) for kind in layer.kinds},
            "pools": lambda: {k.kind: {"free": p.free, "capacity": p.capacity} for k, p in layer.pools.items()},
            "statistics": lambda: layer.statistics,
        }
        if what not in views:
            raise ArgumentError(f"debug_query: nothing is known as {what!r}{nearest(what, views)}")
        return msgspec.json.encode(views[what]()).decode()


class ObservedHost(Host):
    """The same door; an observer hears of every call."""

    def __init__(
        self,
        inferlet: Inferlet,
        models: Mapping[str, LoadedModel],
        set_alarm: SetAlarm,
        services: Services,
        launcher: Launcher,
        observer: InferletObserver,
    ) -> None:
        super().__init__(inferlet, models, set_alarm, services, launcher)
        self._observer = observer

    def call(self, name: str, model: str | None, queue: int | None, arguments: Sequence[Any]) -> Any:
        """See `Host.call`."""
        began, error = self._observer.now(), None
        try:
            return super().call(name, model, queue, arguments)
        except PieError as refused:
            error = refused.code
            raise
        finally:
            self._observer.called(self.inferlet, name, began, error)


RUNTIME_CALLS: Mapping[str, Binder] = {call.signature().name: Binder(call) for call in RUNTIME.calls}
