"""The device thread, the only one that touches tensors, and the threads of the host beside it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from pie_core.command import Command
from pie_core.errors import DeviceError, PieError
from pie_core.inference.running import Outcome, Route, answers, device_error, run_together
from pie_core.inference.staging import Stage
from pie_core.inference.stepping import Concluded, Ride, Stepping
from pie_core.inference.swapping import SwapIn, SwapOut
from pie_core.inference.wave import Batch, Entry, Wave

Completed = Callable[[], None]
Worked = Callable[[Any, PieError | None], None]

MOMENT_S = 0.005  # for a control thread that is held up; it says itself when nobody asks for more
WORKERS = 4  # threads for commands of the host


class Device(Protocol):
    """Runs waves, one after the other, in the order they are launched; and commands of the host, beside them."""

    def launch(self, wave: Wave[Any], completed: Completed, concluded: Concluded) -> None:
        """Start a wave and return. `completed` is called on the control thread when its results and errors are in.

        Commands that run in steps have begun then, unless they have an error. `concluded` is called on the control
        thread with those that have ended since it was last called.
        """
        ...

    def work(self, command: Command, worked: Worked) -> None:
        """Start a command of the host on a thread and return; at most `WORKERS` at a time.

        `worked` is called on the control thread with its result, or with its error.
        """
        ...

    def proceed(self) -> None:
        """Nothing more is launched before something has ended: what runs in steps need not wait for company."""
        ...

    def close(self) -> None:
        """Finish the waves that were launched, then stop. Idempotent."""
        ...


class WaveRunner:
    """Runs a wave on the calling thread, keeping failures to the commands they belong to.

    stepping: the commands that the waves have begun, and whose steps are the caller's to run.
    """

    def __init__(
        self, routes: Mapping[type[Command], Route], rides: Mapping[type[Command], Ride] | None = None
    ) -> None:
        self.stepping = Stepping(routes, rides or {})
        self._routes = routes
        self._failed: dict[int, Entry] = {}  # id of a resource -> the failed command that should have written it

    def run(self, wave: Wave[Any]) -> None:
        """Fill in results and errors.

        A command is skipped if one before it that it depends on failed, in this wave or in one that was in flight when
        this one was launched. (Of all earlier ones the control layer knew; it holds such commands back itself.)
        """
        failed, self.stepping.rode = self._failed, False
        if not wave.chained:
            failed.clear()
        for batch in wave.batches:
            runnable = list(range(len(batch.entries)))
            if failed and batch.kind not in (SwapOut, SwapIn):  # those move what is there, be it sound or not
                runnable = [place for place in runnable if not _skip(batch, place, failed)]
            self._run_batch(batch, runnable)
            for place, entry in enumerate(batch.entries):
                for resource in entry.writes:
                    if place in batch.errors:
                        failed[id(resource)] = entry
                    elif failed:
                        failed.pop(id(resource), None)  # written anew

    def answer(self, command: Command) -> Outcome:
        """Run a command of the host: its result, or its error. Any thread."""
        try:
            return answers(self._routes[type(command)], [command])[0], None
        except BaseException as error:  # there is nobody else whom a thread could tell, and extensions raise odd ones
            return None, device_error(command.of if isinstance(command, Stage) else command, error, "host")

    def _run_batch(self, batch: Batch[Any], places: list[int]) -> None:
        batch.results = [None] * len(batch.entries)
        if not places:
            return
        entries = [batch.entries[place] for place in places]
        if batch.kind.stepwise:
            self.stepping.begin(entries)
            return
        commands = [entry.command for entry in entries]
        riders = self.stepping.riders(batch.kind, sum(command.weight for command in commands)) if self.stepping else []
        outcomes = run_together(self._routes[batch.kind], commands + [command for _, command in riders])
        for place, (result, error) in zip(places, outcomes, strict=False):
            batch.results[place] = result
            if error is not None:
                batch.errors[place] = error
        if riders:
            rode = zip(riders, outcomes[len(commands) :], strict=True)
            self.stepping.have_ridden([entry for (entry, _), (_, error) in rode if error is None])


def _skip(batch: Batch[Any], place: int, failed: dict[int, Entry]) -> bool:
    entry = batch.entries[place]
    for resource in (*entry.reads, *(written for written in entry.writes if written.accumulates)):
        if id(resource) in failed:
            culprit = failed[id(resource)].command.signature().name
            batch.errors[place] = DeviceError(f"skipped, because a {culprit} it depends on failed")
            return True
    return False


class ThreadDevice:
    """A device served by a thread of its own: waves as they come, and a step between two of them at the least.

    A wave may take what runs in steps a step further; so before it takes one by itself, the thread gives programs that
    were just answered a moment (`moment_s`) to ask for more. `post` hands a function to the control thread
    (`loop.call_soon_threadsafe`).
    """

    def __init__(
        self,
        routes: Mapping[type[Command], Route],
        post: Callable[[Callable[[], None]], object],
        rides: Mapping[type[Command], Ride] | None = None,
        moment_s: float = MOMENT_S,
    ) -> None:
        self._runner = WaveRunner(routes, rides)
        self._post = post
        self._moment_s = moment_s
        self._inbox: queue.SimpleQueue[tuple[Wave[Any], Completed, Concluded] | _Proceed | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="pie-device", daemon=True)
        self._thread.start()
        self._workers = ThreadPoolExecutor(WORKERS, "pie-host")  # makes its threads when there is work

    def launch(self, wave: Wave[Any], completed: Completed, concluded: Concluded) -> None:
        """See `Device.launch`."""
        self._inbox.put((wave, completed, concluded))

    def work(self, command: Command, worked: Worked) -> None:
        """See `Device.work`."""
        self._workers.submit(self._work, command, worked)

    def proceed(self) -> None:
        """See `Device.proceed`."""
        self._inbox.put(_Proceed())

    def close(self) -> None:
        """See `Device.close`."""
        if self._thread.is_alive():
            self._inbox.put(None)
            self._thread.join()
        self._workers.shutdown(cancel_futures=True)

    def _work(self, command: Command, worked: Worked) -> None:
        self._post(partial(worked, *self._runner.answer(command)))

    def _serve(self) -> None:
        stepping, answered = self._runner.stepping, False
        while (job := self._next(answered)) is not None:
            answered = False
            if not isinstance(job, _Proceed):
                wave, completed, concluded = job
                self._runner.run(wave)
                self._post(completed)
                answered = stepping.rode
            if stepping and (ended := stepping.step()):
                self._post(partial(concluded, ended))
                answered = True

    def _next(self, answered: bool) -> tuple[Wave[Any], Completed, Concluded] | _Proceed | None:
        """What is to be done next; a step, if nothing else. answered: programs may be about to ask for more."""
        if not self._runner.stepping:
            while isinstance(job := self._inbox.get(), _Proceed):
                pass
            return job
        try:
            return self._inbox.get(timeout=self._moment_s) if answered else self._inbox.get_nowait()
        except queue.Empty:
            return _Proceed()


class _Proceed:
    """Take a step."""
