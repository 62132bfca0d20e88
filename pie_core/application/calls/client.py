"""Calls: messages between the inferlet and its client, and its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pie_core.application.calls.base import RuntimeCall
from pie_core.application.events import Blob, Message
from pie_core.control.ticket import Ticket

if TYPE_CHECKING:
    from pie_core.application.host import Host


class Send(RuntimeCall):
    """Send a text to the client.

    ArgumentError: not a text, or over `message_bytes`.
    ResourceError: too many that the client has not read.
    """

    msg: str

    def apply(self, host: Host, model: str | None, queue: int | None) -> None:
        host.inferlet.check_size(self.msg)
        host.inferlet.emit(Message(self.msg))


class Receive(RuntimeCall):
    """The next text from the client, in order, each once."""

    returns = str
    future = True

    def apply(self, host: Host, model: str | None, queue: int | None) -> Ticket:
        return host.inferlet.inbox.get()


class SendBlob(RuntimeCall):
    """Send bytes to the client.

    ArgumentError: not bytes, over `message_bytes`, or from a program that was spawned.
    ResourceError: too many that the client has not read.
    """

    data: bytes

    def apply(self, host: Host, model: str | None, queue: int | None) -> None:
        host.inferlet.check_size(self.data)
        host.inferlet.emit(Blob(self.data))


class ReceiveBlob(RuntimeCall):
    """The next bytes from the client."""

    returns = bytes
    future = True

    def apply(self, host: Host, model: str | None, queue: int | None) -> Ticket:
        return host.inferlet.blob_inbox.get()


class SetReturn(RuntimeCall):
    """Set the result of the program; the last one counts. The text that `main` returns is set the same way.

    ArgumentError: not a text, or over `message_bytes`.
    """

    value: str

    def apply(self, host: Host, model: str | None, queue: int | None) -> None:
        host.inferlet.check_size(self.value)
        host.inferlet.returned = self.value


CALLS = (Send, Receive, SendBlob, ReceiveBlob, SetReturn)
