"""Calls: messages among the programs of one user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pie_core.application.calls.base import RuntimeCall
from pie_core.application.topics import check_name
from pie_core.control.ticket import Ticket
from pie_core.errors import ArgumentError
from pie_core.schema import U32

if TYPE_CHECKING:
    from pie_core.application.host import Host


class Broadcast(RuntimeCall):
    """Send a text to all programs of the user that are subscribed to the topic now, this one included.

    topic: 1 to 512 bytes of UTF-8. That somebody does not read is no error here.

    ArgumentError: a topic that is empty or over 512 bytes, a text that is none or over `mail_bytes`.
    """

    topic: str
    msg: str

    def apply(self, host: Host, model: str | None, queue: int | None) -> None:
        check_name(self.topic)
        most = host.inferlet.limits.mail_bytes
        if len(self.msg) > most:
            raise ArgumentError(f"broadcast: a text of {len(self.msg)} is over the {most} allowed (limit `mail_bytes`)")
        host.services.topics.broadcast(host.inferlet.user, self.topic, self.msg)


class Subscribe(RuntimeCall):
    """Get what is broadcast to a topic from now on: a number for `next_message` and `unsubscribe`.

    ArgumentError: a topic that is empty or over 512 bytes.
    ResourceError: too many subscriptions.
    """

    returns = U32
    topic: str

    def apply(self, host: Host, model: str | None, queue: int | None) -> int:
        return host.subscriptions.subscribe(self.topic)


class NextMessage(RuntimeCall):
    """The next text of a subscription, in order.

    HandleError: no subscription of this number, or ended.
    ResourceError: texts were lost because too many waited; once, with how many, then it goes on.
    ArgumentError: it ended while this waited.
    """

    future = True
    returns = str
    subscription: U32

    def apply(self, host: Host, model: str | None, queue: int | None) -> Ticket:
        return host.subscriptions.find(self.subscription).get()


class Unsubscribe(RuntimeCall):
    """End a subscription. Reads that wait get an error.

    HandleError: no subscription of this number, or ended.
    """

    subscription: U32

    def apply(self, host: Host, model: str | None, queue: int | None) -> None:
        host.subscriptions.unsubscribe(self.subscription)


CALLS = (Broadcast, Subscribe, NextMessage, Unsubscribe)
