"""Calls: command queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pie_core.application.calls.base import RuntimeCall
from pie_core.control.ticket import Ticket
from pie_core.schema import S32, U32

if TYPE_CHECKING:
    from pie_core.application.host import Host


class CreateQueue(RuntimeCall):
    """A new command queue of a model, of priority 0.

    ResourceError: too many queues.
    """

    target = "model"
    returns = U32

    def apply(self, host: Host, model: str | None, queue: int | None) -> int:
        return host.space(model).create_queue()


class Synchronize(RuntimeCall):
    """Wait for all that is enqueued in the queue now. Raises the first error of its commands, once.

    ArgumentError: not a queue.
    DeviceError: a command of the queue failed; once.
    """

    target = "queue"
    future = True

    def apply(self, host: Host, model: str | None, queue: int | None) -> Ticket:
        return host.queue(model, queue, "synchronize").synchronize()


class SetQueuePriority(RuntimeCall):
    """Commands of queues with a higher priority are batched first. The default is 0.

    ArgumentError: not a queue, or a number outside 32 bits.
    """

    target = "queue"
    pri: S32

    def apply(self, host: Host, model: str | None, queue: int | None) -> None:
        host.queue(model, queue, "set_queue_priority").priority = self.pri


class DebugQuery(RuntimeCall):
    """Facts about the server for debugging, as a JSON object.

    what: "queue" (what is outstanding), "space" (what the inferlet holds), "pools" (what is free), "statistics"
    (batches by call).

    ArgumentError: something else asked for, with near names.
    """

    target = "queue"
    returns = str
    what: str

    def apply(self, host: Host, model: str | None, queue: int | None) -> str:
        return host.debug(model, queue, self.what)


CALLS = (CreateQueue, Synchronize, SetQueuePriority, DebugQuery)
