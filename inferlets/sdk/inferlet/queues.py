"""Queues of contexts. A program may have few and none is ever freed, so a closed context leaves its own to the next."""

from __future__ import annotations

from inferlet import calls
from inferlet.handles import Queue
from inferlet.host import Host, host
from inferlet.model import Model


def take_queue(model: Model) -> Queue:
    """One that a closed context left, or a new one; of priority 0."""
    idle = host().idle_queues.get(model.name)
    if not idle:
        return model.create_queue()
    queue = Queue(model.name, idle.pop())
    calls.set_queue_priority(queue, 0)
    return queue


def leave_queue(host: Host, queue: Queue) -> None:
    """Let the next context have it."""
    host.idle_queues.setdefault(queue.model_name, []).append(queue.handle)
