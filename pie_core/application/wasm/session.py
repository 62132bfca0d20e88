"""What the host knows of one running component beside its store: its door to the server, tickets, queues, output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pie_core.application.events import Output
from pie_core.application.host import Host
from pie_core.application.wasm.tickets import Tickets
from pie_core.application.wasm.wasi import WasiState
from pie_core.control.ticket import Ticket
from pie_core.errors import HandleError


class Session:
    """The state of one guest. `files` is what an interpreter runs: (name, text), the program first."""

    def __init__(self, host: Host, files: Sequence[tuple[str, str]], wake: Callable[[], None]) -> None:
        self.host = host
        self.files = files
        self.tickets = Tickets(wake)
        self.wasi = WasiState(self.show, lambda seconds: host.set_alarm(seconds, wake))
        self._queues: dict[int, tuple[str, int]] = {}  # number -> (model, handle)

    def close(self) -> None:
        """The guest has ended."""
        self.wasi.close()

    def queue(self, number: int) -> tuple[str, int]:
        """Model and handle of a queue of this guest."""
        try:
            return self._queues[number]
        except KeyError:
            raise HandleError(f"{number} is not a queue of this inferlet") from None

    def add_queue(self, model: str, handle: int) -> int:
        """A number for a queue; handles of two models may be equal."""
        number = len(self._queues) + 1
        self._queues[number] = model, handle
        return number

    def show(self, text: str) -> None:
        """Show text to the client."""
        if text:
            self.host.inferlet.check_size(text)
            self.host.inferlet.emit(Output(text))

    def answer(self, value: Any, call: str) -> Any:
        """A ticket becomes a number."""
        return self.tickets.add(value, call) if isinstance(value, Ticket) else value

    def drop(self, numbers: Sequence[int]) -> None:
        """Let go of tickets."""
        for ticket in self.tickets.drop(numbers):
            self.host.abandon(ticket)
