"""The loop of the control layer: look at what is ready, launch a wave of it, hear from the device what became of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from pie_core.command import Command
from pie_core.control.batching import Backlog, form_wave
from pie_core.control.completion import Completion
from pie_core.control.dispatch import DispatchPolicy
from pie_core.control.environment import Environment
from pie_core.control.host_work import HostWork
from pie_core.control.looks import Looks
from pie_core.control.memory import Memory
from pie_core.control.observer import Observers
from pie_core.control.statistics import Statistics
from pie_core.control.submission import Staging, Submission
from pie_core.errors import PieError
from pie_core.inference.device import Device
from pie_core.inference.stepping import Conclusion
from pie_core.inference.wave import Wave

_RELIEF_S = 0.1  # how often to see whether something can be done for who waits for room, if nothing else happens


class Scheduler:
    """Takes commands that wait for nothing any more to the device, or to a thread of the host, and back.

    Owns what is ready and what is in flight; `Completion` says how each command ends, `Memory` who has room, the policy
    when a wave is due. in_flight: waves on the device, in the order of their launches; only changed here.
    """

    def __init__(
        self,
        device: Device,
        batch_limit: Callable[[type[Command]], int],
        policy: DispatchPolicy,
        environment: Environment,
        memory: Memory,
        completion: Completion,
        in_flight: deque[Wave[Any]],
        statistics: Statistics,
        observers: Observers,
    ) -> None:
        self.backlog = Backlog()
        self.in_flight = in_flight
        self._device = device
        self._batch_limit = batch_limit
        self._policy = policy
        self._now = environment.now
        self._memory = memory
        self._completion = completion
        self._statistics = statistics
        self._observers = observers
        self._looks = Looks(environment, self.consider)
        self._host_work = HostWork(device, completion.refuse, self._worked, observers.begun)
        self._awaited = False  # what runs in steps may wait to hear whether programs ask for more

    def enqueued(self, submission: Submission) -> None:
        """A command has come. It may have to wait for others."""
        self._looks.change()
        if submission.command.staged:
            self._host_work.add(Staging(submission))
        if submission.blockers == 0:
            self.ready(submission)
            if self._policy.immediate:
                self.consider()

    def ready(self, submission: Submission) -> None:
        """Nothing stands before this command any more."""
        if submission.command.place == "host":
            self._host_work.add(submission)
            return
        self.backlog.add(submission)
        self._looks.soon()

    def look(self) -> None:
        """Have a look at what is ready once everything that can run now has run."""
        self._looks.soon()

    def consider(self) -> None:
        """Take a look now: do what can be done for who waits for room, and launch a wave if one is due."""
        self._looks.begin()
        memory, now = self._memory, self._now()
        waited_for = memory.waited_for
        if not (self.backlog or waited_for or memory.swapping.transfers or self._awaited):
            return
        changed, quiet = self._looks.listen()
        idle = not self.in_flight
        if changed:
            memory.stir()
        if waited_for:
            self._looks.at(now + _RELIEF_S, now)
            if quiet:
                memory.expire()  # first, for somebody may be able to go on then
                memory.relieve(standstill=idle and not (self.backlog or self._host_work or self._completion.running))
        due = self._due(idle, quiet, now)
        if due or memory.swapping.transfers:
            self._awaited = False
            self._launch(due)
        elif idle and not quiet:
            self._looks.soon()
        elif self._awaited and quiet:
            self._awaited = False
            self._device.proceed()

    def _due(self, idle: bool, quiet: bool, now: float) -> bool:
        if not self.backlog:
            return False
        due = self._policy.due(self.backlog, idle=idle, quiet=quiet, now=now)
        if isinstance(due, bool):
            return due
        self._looks.at(due, now)
        return False

    def _launch(self, due: bool) -> None:
        """Launch what is to be moved to host memory or back, and, if they are due, the commands that are ready."""
        wave: Wave[Any] = Wave()  # of submissions, but for the transfers at its front
        if self._memory.swapping.transfers:
            transfers, ready = self._memory.swapping.depart()
            wave.batches += transfers
            for submission in ready:
                self.backlog.add(submission)
        refuse = None
        if due:
            self._looks.launched()
            refuse = self._completion.refuse if self._completion.may_refuse else None
            wave.batches += form_wave(self.backlog, self._batch_limit, refuse).batches
        if wave.batches:
            wave.launched_at = self._now()
            wave.chained = bool(self.in_flight)
            self.in_flight.append(wave)
            self._completion.launched(wave)
            self._statistics.launched(wave)
            self._observers.launched(wave)
            self._device.launch(wave, self._completed, self._concluded)
        if refuse is not None:
            self._memory.grant()  # what was skipped uses nothing any more
        if wave.batches and self.backlog:
            self._looks.soon()

    def _completed(self) -> None:
        """The device is done with a wave."""
        wave = self.in_flight.popleft()
        self._looks.change()
        self._statistics.completed(wave, self._now())
        self._observers.completed(wave)
        for batch in wave.batches:
            self._completion.complete(batch)
        self._memory.grant()
        self._awaited = self._completion.running > 0
        if self.backlog or self._memory.waited_for or self._awaited:
            self._looks.soon()

    def _worked(self, submission: Submission, result: Any, error: PieError | None) -> None:
        """A command of the host has run. What waits for it may go on only now: threads keep no order."""
        self._looks.change()
        self._statistics.worked(submission, self._now())
        if isinstance(submission, Staging):
            self._completion.staged(submission, error)
        else:
            self._completion.conclude(submission, result, error)
        self._memory.grant()
        self._looks.soon()

    def _concluded(self, ended: Sequence[Conclusion]) -> None:
        """Commands that ran in steps have ended. What waits for one may go on only now, as after one of the host."""
        self._looks.change()
        for submission, result, error in ended:
            self._completion.conclude(submission, result, error)
            self._statistics.concluded(submission)
            self._observers.concluded(submission)
        self._awaited = self._completion.running > 0
        self._memory.grant()
        self._looks.soon()
