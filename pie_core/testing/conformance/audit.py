"""Between the control layer and the handlers: looks at what a batch names before it runs, and at the books afterwards.

A handler may read `index` and the planned fields; the books belong to the control layer, and no batch may name a
resource that is not bound. A case can also have a batch run on another thread, or make one of its commands fail.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from pie_core.command import Command
from pie_core.errors import DeviceError
from pie_core.inference.running import Route
from pie_core.resource import Resource
from pie_core.schema import Access
from pie_core.testing.conformance.books import record_state

UNPLANNED = ("readers", "writer", "uses")  # change while the command is queued, for other commands' sake


class Unreadable(Resource):
    """Stands for a resource that the device fails on: the handler gets an error when it asks for the index."""

    kind = "unreadable"

    def __init__(self) -> None:
        """It has no books."""

    @property
    def index(self) -> NoReturn:  # type: ignore[override]  # that it cannot be read is the point
        raise DeviceError("a resource that cannot be read, made by the conformance suite")


class Audit:
    """Wraps the routes of a model.

    problems: what a handler did that it may not. spoil: replaces commands before they run. threaded: run every batch on
    a thread of its own.
    """

    def __init__(self, capacity: Mapping[type[Resource], int]) -> None:
        self.problems: list[str] = []
        self.spoil: Callable[[Command], Command] | None = None
        self.threaded = False
        self._capacity = capacity

    def watch(self, kind: type[Command], route: Route) -> Route:
        """The route, audited."""

        def run(batch: Sequence[Command]) -> Sequence[Any] | None:
            touched = [record for command in batch for record in _touched(command)]  # kinds may share a batch
            self._check_bound(kind, touched)
            given = batch if self.spoil is None else [self.spoil(command) for command in batch]
            before = [_books(record) for record in touched]
            try:
                return self._call(route, given)
            finally:
                self._check_books(kind, touched, before)

        return run

    def _call(self, route: Route, batch: Sequence[Command]) -> Sequence[Any] | None:
        if not self.threaded:
            return route(batch)
        answers: list[Any] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                answers.append(route(batch))
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        found: Sequence[Any] | None = answers[0]
        return found

    def _check_bound(self, kind: type[Command], touched: Sequence[Resource]) -> None:
        for record in touched:
            if not 0 <= record.index < self._capacity[type(record)]:
                self.problems.append(f"{kind.signature().name} was launched with the unbound resource {record!r}")

    def _check_books(self, kind: type[Command], touched: Sequence[Resource], before: Sequence[object]) -> None:
        for record, books in zip(touched, before, strict=True):
            if _books(record) != books:
                self.problems.append(
                    f"the handler of {kind.signature().name} changed the books of {record!r}: {books} became "
                    f"{_books(record)}; they are the control layer's"
                )


def _touched(command: Command) -> list[Resource]:
    fields = [p.name for p in command.signature().parameters if p.type.access in (Access.READ, Access.WRITE)]
    return [record for field in fields for record in getattr(command, field) or ()]


def _books(record: Resource) -> dict[str, Any]:
    return {name: value for name, value in record_state(record).items() if name not in UNPLANNED}
