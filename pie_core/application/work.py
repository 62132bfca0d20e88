"""Coroutines that run for one inferlet: each gives a ticket, and all end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from functools import partial
from typing import Any

import structlog

from pie_core.control.ticket import Ticket
from pie_core.errors import PieError, TerminatedError

log = structlog.get_logger(__name__)


class Work:
    """`len` is how many are under way. Control thread only."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, Any]) -> Ticket:
        """Run it in a task that belongs to the server, not to the program; a ticket for its result."""
        ticket = Ticket()
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, ticket))
        return ticket

    def cancel(self) -> None:
        """Stop all that is under way."""
        for task in self._tasks:
            task.cancel()

    def _done(self, ticket: Ticket, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            ticket.fail(TerminatedError(f"{self._what} was cancelled"))
            return
        error = task.exception()
        if error is None:
            ticket.resolve(task.result())
        elif isinstance(error, PieError):
            ticket.fail(error)
        else:
            log.error("work.crashed", what=self._what, exc_info=error)
            ticket.fail(PieError(f"{self._what} failed in the server: {type(error).__name__}: {error}"))
