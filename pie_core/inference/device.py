"""The device thread, the only one that touches tensors, and the threads of the host beside it."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import structlog

from pie_core.command import Command, Place
from pie_core.errors import DeviceError, PieError
from pie_core.inference.staging import Stage
from pie_core.inference.swapping import SwapIn, SwapOut
from pie_core.inference.wave import Batch, Entry, Wave

log = structlog.get_logger(__name__)

Route = Callable[[Sequence[Command]], Sequence[Any] | None]
Completed = Callable[[], None]
Worked = Callable[[Any, PieError | None], None]

WORKERS = 4  # threads for commands of the host


class Device(Protocol):
    """Runs waves, one after the other, in the order they are launched; and commands of the host, beside them."""

    def launch(self, wave: Wave[Any], completed: Completed) -> None:
        """Start a wave and return. `completed` is called on the control thread when its results and errors are in."""
        ...

    def work(self, command: Command, worked: Worked) -> None:
        """Start a command of the host on a thread and return; at most `WORKERS` at a time.

        `worked` is called on the control thread with its result, or with its error.
        """
        ...

    def close(self) -> None:
        """Finish what was launched, then stop. Idempotent."""
        ...


class WaveRunner:
    """Runs a wave on the calling thread, keeping failures to the commands they belong to."""

    def __init__(self, routes: Mapping[type[Command], Route]) -> None:
        self._routes = routes
        self._failed: dict[int, Entry] = {}  # id of a resource -> the failed command that should have written it

    def run(self, wave: Wave[Any]) -> None:
        """Fill in results and errors.

        A command is skipped if one before it that it depends on failed, in this wave or in one that was in flight when
        this one was launched. (Of all earlier ones the control layer knew; it holds such commands back itself.)
        """
        failed = self._failed
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

    def answer(self, command: Command) -> tuple[Any, PieError | None]:
        """Run a command of the host: its result, or its error. Any thread."""
        try:
            return _answers(self._routes[type(command)], [command])[0], None
        except BaseException as error:  # there is nobody else whom a thread could tell, and extensions raise odd ones
            return None, _device_error(command.of if isinstance(command, Stage) else command, error, "host")

    def _run_batch(self, batch: Batch[Any], places: list[int]) -> None:
        results = batch.results = [None] * len(batch.entries)
        if not places:
            return
        route = self._routes[batch.kind]
        commands = [batch.entries[place].command for place in places]
        try:
            answers = _answers(route, commands)
        except Exception as error:
            if len(places) == 1:
                batch.errors[places[0]] = _device_error(commands[0], error)
                return
            log.warning("batch.failed", call=batch.kind.__name__, size=len(places), error=str(error))
            for place in places:
                self._run_alone(batch, place, route)
            return
        for place, answer in zip(places, answers, strict=True):
            results[place] = answer

    def _run_alone(self, batch: Batch[Any], place: int, route: Route) -> None:
        command = batch.entries[place].command
        try:
            batch.results[place] = _answers(route, [command])[0]
        except Exception as error:
            batch.errors[place] = _device_error(command, error)


def _answers(route: Route, commands: Sequence[Command]) -> Sequence[Any]:
    answers = route(commands)
    if answers is None:
        return [None] * len(commands)
    if len(answers) != len(commands):
        raise DeviceError(
            f"the handler gave {len(answers)} results for {len(commands)} commands; report it to its author"
        )
    return answers


def _skip(batch: Batch[Any], place: int, failed: dict[int, Entry]) -> bool:
    entry = batch.entries[place]
    for resource in (*entry.reads, *(written for written in entry.writes if written.accumulates)):
        if id(resource) in failed:
            culprit = failed[id(resource)].command.signature().name
            batch.errors[place] = DeviceError(f"skipped, because a {culprit} it depends on failed")
            return True
    return False


def _device_error(command: Command, error: BaseException, place: Place = "device") -> PieError:
    if isinstance(error, PieError):
        return error
    log.error("command.failed", call=type(command).__name__, traceback="".join(traceback.format_exception(error)))
    name = command.signature().name
    wrapped = DeviceError(f"{name} failed on the {place}: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


class ThreadDevice:
    """A device served by a thread of its own.

    `post` hands a function to the control thread (`loop.call_soon_threadsafe`).
    """

    def __init__(self, routes: Mapping[type[Command], Route], post: Callable[[Callable[[], None]], object]) -> None:
        self._runner = WaveRunner(routes)
        self._post = post
        self._inbox: queue.SimpleQueue[tuple[Wave[Any], Completed] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="pie-device", daemon=True)
        self._thread.start()
        self._workers = ThreadPoolExecutor(WORKERS, "pie-host")  # makes its threads when there is work

    def launch(self, wave: Wave[Any], completed: Completed) -> None:
        """See `Device.launch`."""
        self._inbox.put((wave, completed))

    def work(self, command: Command, worked: Worked) -> None:
        """See `Device.work`."""
        self._workers.submit(self._work, command, worked)

    def close(self) -> None:
        """See `Device.close`."""
        if self._thread.is_alive():
            self._inbox.put(None)
            self._thread.join()
        self._workers.shutdown(cancel_futures=True)

    def _work(self, command: Command, worked: Worked) -> None:
        self._post(partial(worked, *self._runner.answer(command)))

    def _serve(self) -> None:
        while (job := self._inbox.get()) is not None:
            wave, completed = job
            self._runner.run(wave)
            self._post(completed)
