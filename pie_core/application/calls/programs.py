"""Calls: time, and other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pie_core.application.calls.base import RuntimeCall
from pie_core.control.ticket import Ticket
from pie_core.errors import ArgumentError

if TYPE_CHECKING:
    from pie_core.application.host import Host


class Sleep(RuntimeCall):
    """Suspend for `seconds`; other tasks of the program go on. Negative or not a number: error."""

    future = True
    seconds: float

    def apply(self, host: Host, model: str | None, queue: int | None) -> Ticket:
        if not self.seconds >= 0:
            raise ArgumentError(f"sleep: {self.seconds} seconds cannot be slept")
        return host.sleep(self.seconds)


CALLS = (Sleep,)
