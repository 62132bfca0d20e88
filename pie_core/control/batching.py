"""From ready commands to a wave: which commands run together, and which batches run back to back.

A batch holds commands of one kind that do not depend on each other: the further commands of a queue (vertical) and
those of other queues (horizontal); the kind is `Command.batch_kind`. A wave is a list of batches that the device runs
in order without asking.
"""

from __future__ import annotations

from collections.abc import Callable

from pie_core.command import Command
from pie_core.control.hazards import unblock
from pie_core.control.submission import Submission
from pie_core.inference.wave import Batch, Wave


class Backlog:
    """The commands that could be launched now, by kind, oldest first."""

    def __init__(self) -> None:
        self._ready: dict[type[Command], list[Submission]] = {}

    def add(self, submission: Submission) -> None:
        """Nothing stands before this command any more."""
        self._ready.setdefault(submission.command.batch_kind(), []).append(submission)

    def __bool__(self) -> bool:
        for ready in self._ready.values():  # not by `any`: a generator takes longer than what it would find
            for submission in ready:
                if not submission.done:
                    return True
        return False

    def kinds(self) -> list[type[Command]]:
        """Kinds with something ready, the one with the longest-waiting command first."""
        found = [kind for kind, ready in self._ready.items() if ready]
        return sorted(found, key=lambda kind: min(submission.seq for submission in self._ready[kind]))

    def size(self, kind: type[Command]) -> int:
        """How many commands of a kind are ready."""
        return len(self._ready.get(kind, ()))

    def take(self, kind: type[Command], limit: int) -> list[Submission]:
        """Remove and return a batch: by queue priority, then age, up to a total weight of `limit` (at least one).

        Commands that were cancelled meanwhile are dropped.
        """
        ready = [submission for submission in self._ready.pop(kind) if not submission.done]
        ready.sort(key=_rank)
        weight = 0
        for count, submission in enumerate(ready):
            weight += submission.weight
            if weight > limit and count:
                self._ready[kind] = ready[count:]
                return ready[:count]
        return ready


def _rank(submission: Submission) -> tuple[int, int]:
    return -submission.queue.priority, submission.seq


def form_wave(
    backlog: Backlog, limit: Callable[[type[Command]], int], refuse: Callable[[Submission], bool] | None = None
) -> Wave[Submission]:
    """Take a wave off the backlog and mark its commands launched.

    Light commands go first, because they may make more company ready for a heavy batch; then one batch of each heavy
    kind, the longest-waiting first; then the light successors that can run right behind them. What waits for a command
    that runs in steps waits until it is done. `refuse` is asked for
    each command and returns True for one that it has failed instead (it depends on one that failed).
    """
    wave: Wave[Submission] = Wave()
    spent: set[type[Command]] = set()
    while kinds := [kind for kind in backlog.kinds() if kind not in spent]:
        kind = next((kind for kind in kinds if not kind.heavy), kinds[0])
        chosen = backlog.take(kind, limit(kind))
        if refuse is not None:
            chosen = [submission for submission in chosen if not refuse(submission)]
        if chosen:
            wave.batches.append(Batch(kind, chosen))
            if kind.heavy:
                spent.add(kind)
        for submission in chosen:
            if kind.stepwise:
                submission.running = True
                continue
            for successor in unblock(submission):
                backlog.add(successor)
    return wave
