"""A result that is not there yet, without an event loop: each tier turns it into its own kind of future."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Ticket:
    """Completed once, with a value or an error. Not thread-safe: control thread only."""

    __slots__ = ("_watchers", "done", "error", "value")

    def __init__(self) -> None:
        self.done = False
        self.value: Any = None
        self.error: BaseException | None = None
        self._watchers: list[Callable[[Ticket], None]] | None = None

    def resolve(self, value: Any = None) -> None:
        """Complete with a value. Later completions are ignored: a cancelled ticket may still be answered."""
        self._complete(value, None)

    def fail(self, error: BaseException) -> None:
        """Complete with an error."""
        self._complete(None, error)

    def watch(self, watcher: Callable[[Ticket], None]) -> None:
        """Call `watcher` with this ticket when it is done; at once if it is."""
        if self.done:
            watcher(self)
        elif self._watchers is None:
            self._watchers = [watcher]
        else:
            self._watchers.append(watcher)

    def result(self) -> Any:
        """The value; raises the error. Only when done."""
        assert self.done
        if self.error is not None:
            raise self.error
        return self.value

    def _complete(self, value: Any, error: BaseException | None) -> None:
        if self.done:
            return
        self.done, self.value, self.error = True, value, error
        watchers, self._watchers = self._watchers, None
        for watcher in watchers or ():
            watcher(self)
