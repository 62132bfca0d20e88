"""The store as inferlets use it: one thread does all accesses in order, and each gives a ticket.

The file is opened by the first access; one that exists is looked at before the server starts (`check`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog

from pie_core.application.store.database import FILE, Database
from pie_core.control.ticket import Ticket
from pie_core.errors import PieError

log = structlog.get_logger(__name__)

Access = Callable[[Database], Any]


def default_directory() -> Path:
    """Where the store is unless an option says otherwise."""
    home = os.environ.get("XDG_STATE_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state"
    return base / "pie-core"


class Store:
    """`directory`: of the file; None keeps everything in memory, and forgets it. Control thread only."""

    def __init__(self, directory: Path | None = None) -> None:
        self._path = None if directory is None else directory / FILE
        self._thread: ThreadPoolExecutor | None = None
        self._database: Database | None = None

    def check(self) -> None:
        """Open the file if there is one, and look whether it is whole. Blocks. Raises `ConfigError`."""
        if self._path is not None and self._path.exists():
            Database(self._path).close()

    def access(self, access: Access) -> Ticket:
        """Do it on the thread, after what was asked for before; a ticket for what it returns."""
        ticket, loop = Ticket(), asyncio.get_running_loop()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "pie-store")

        def done(outcome: Future[Any]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_complete, ticket, outcome)

        self._thread.submit(self._run, access).add_done_callback(done)
        return ticket

    def close(self) -> None:
        """Finish what was asked for and let go of the file. Blocks. Idempotent."""
        if self._thread is not None:
            self._thread.submit(self._close)
            self._thread.shutdown()
            self._thread = None

    def _run(self, access: Access) -> Any:
        if self._database is None:
            self._database = Database(self._path)
        return access(self._database)

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def _complete(ticket: Ticket, outcome: Future[Any]) -> None:
    error = outcome.exception()
    if error is None:
        ticket.resolve(outcome.result())
    elif isinstance(error, PieError):
        ticket.fail(error)
    else:
        log.error("store.crashed", exc_info=error)
        ticket.fail(PieError(f"the store failed in the server: {type(error).__name__}: {error}"))
