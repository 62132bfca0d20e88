"""Dependencies between commands, from what they read and write.

Read after write, write after read and write after write, over all queues: whatever order batching chooses gives the
tensors that running the commands one by one in the order of enqueueing gives. "After" means launched after: the
device runs what it is handed in order. A command of the host, or one that runs in steps, counts as launched when it is
done; what a command of the host writes has versions, so that it waits for no reader.
"""

from __future__ import annotations

from collections.abc import Iterable

from pie_core.control.submission import Node, Submission
from pie_core.resource import HostResource

_SWEEP = 8  # readers remembered before those already launched are forgotten


def link(submission: Submission) -> None:
    """Enter `submission` into the books of what it touches and make it wait for what must go first."""
    for resource in submission.reads:
        resource.uses += 1
        writer = resource.writer
        if writer is not None and not writer.launched:
            writer.block(submission)
        if isinstance(resource, HostResource):
            continue
        readers = resource.readers
        if len(readers) >= _SWEEP:
            readers[:] = [reader for reader in readers if not reader.launched]
        readers.append(submission)
    for resource in submission.writes:
        resource.uses += 1
        writer = resource.writer
        if writer is not None and writer is not submission and not writer.launched:
            writer.block(submission)
        for reader in resource.readers:
            if reader is not submission and not reader.launched:
                reader.block(submission)
        resource.readers.clear()
        resource.writer = submission


def unblock(node: Node) -> list[Submission]:
    """`node` is launched (or never will be): the successors that wait for nothing else now, in order."""
    node.launched = True
    successors, node.successors = node.successors, None
    ready = []
    for successor in successors or ():
        successor.blockers -= 1
        if successor.blockers == 0:
            ready.append(successor)
    return ready


def wanted_by_others(left: Iterable[Submission]) -> set[Submission]:
    """Of the commands of inferlets that have ended and hold nothing, such as wait or run in steps: those that write
    what somebody holds (an export), and those that these, or commands of inferlets that are there, wait for. They must
    still run; the rest need not."""
    kept: set[Submission] = set()
    for submission in sorted(left, key=lambda submission: -submission.seq):  # successors first
        wanted = any(resource.holders for resource in submission.writes)
        if wanted or any(_is_alive(successor) or successor in kept for successor in submission.successors or ()):
            kept.add(submission)
    return kept


def _is_alive(submission: Submission) -> bool:
    return not submission.done and submission.queue.space.ended is None
