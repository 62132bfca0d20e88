"""The event loop of a program inside WebAssembly.

One thread, no files, no sockets: a program waits for tickets of the server and for timers, and nothing else. When no
task can run, the loop hands all of that to the server in one suspending call.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
import time
import weakref
from asyncio import events
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextvars import Context, copy_context
from itertools import count
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
_LONGEST_SLEEP_S = 86400.0
_TURNS_WITHOUT_LOOKING = 64  # turns of tasks that never wait, after which the loop looks for finished tickets
_PATIENCE_S = 1.0  # for tasks that are cancelled when the program ends


class Tickets(Protocol):
    """What the loop needs of the server."""

    def wait_any(self, tickets: list[int]) -> list[int]:
        """Suspend until at least one is done; those that are."""
        ...

    def sleep(self, seconds: float) -> int:
        """A ticket that is done after `seconds`."""
        ...


class Handle:
    """A callback that is due; `when` (seconds, as `time` tells them) if it is a timer."""

    __slots__ = ("_args", "_callback", "_cancelled", "_context", "_when")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context, when: float = 0.0
    ) -> None:
        self._callback = callback
        self._args = args
        self._context = context
        self._cancelled = False
        self._when = when

    def cancel(self) -> None:
        """Do not call it. Idempotent."""
        self._cancelled = True
        self._args = ()

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._cancelled

    def when(self) -> float:
        """When a timer is due."""
        return self._when


class Loop(asyncio.AbstractEventLoop):
    """asyncio over `Tickets`. What needs threads, files or sockets raises `NotImplementedError`."""

    def __init__(self, tickets: Tickets, report: Callable[[str, BaseException | None], None]) -> None:
        """report: gets what nobody is there to catch."""
        self._tickets = tickets
        self._report = report
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[float, int, Handle]] = []
        self._order = count()  # among timers that are due at the same moment
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}
        self._alarms: list[tuple[int, float]] = []  # ticket and time of the sleeps under way, the next one last
        self._turns = 0  # since the loop last looked for finished tickets
        self._running = self._closed = self._debug = False
        self._main: asyncio.Future[Any] | None = None
        self._task_factory: Any = None
        self._exception_handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None = None
        self._generators: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()

    # waiting for the server

    def arrival(self, ticket: int) -> asyncio.Future[None]:
        """A future that is done when the ticket is. Cancelling it stops waiting and does not touch the ticket."""
        future: asyncio.Future[None] = asyncio.Future(loop=self)
        self._waiting.setdefault(ticket, []).append(future)
        return future

    def forget(self, ticket: int, future: asyncio.Future[None]) -> bool:
        """Stop waiting for a ticket; whether nobody else waits for it."""
        waiting = self._waiting.get(ticket)
        if waiting is None:
            return True  # it has arrived
        waiting.remove(future)
        if waiting:
            return False
        del self._waiting[ticket]
        return True

    def is_alone(self) -> bool:
        """Whether nothing can happen in the program before the task that runs goes on."""
        if self._ready or self._waiting or self._next_timer() is not None:
            return False
        task = asyncio.current_task(self)
        return task is not None and not task.cancelling()

    def look(self, ticket: int) -> bool:
        """Whether a ticket is done. Lets the server go on for a moment."""
        pause = self._tickets.sleep(0.0)
        return ticket in self._tickets.wait_any([ticket, pause])

    def _suspend(self, due: float | None) -> None:
        """Wait for tickets, until the next timer is due (in `due` seconds) at the latest."""
        numbers = list(self._waiting)
        if due is not None:
            numbers.append(self._set_alarm(due))
        elif not numbers:
            self._break_deadlock()
            return
        self._wait(numbers)

    def _break_deadlock(self) -> None:
        """Raise the error in the program, where it waits. Raises it here if that cannot be found."""
        error = RuntimeError(
            "the program waits for something that cannot happen: no task can run, no call is outstanding and no timer "
            "is set"
        )
        waiter: Any = self._main
        while isinstance(waiter, asyncio.Task):
            waiter = getattr(waiter, "_fut_waiter", None)
        if not isinstance(waiter, asyncio.Future) or waiter.done():
            raise error
        waiter.set_exception(error)

    def _wait(self, numbers: list[int]) -> None:
        """Wake those who wait for the tickets that are done."""
        self._turns = 0
        for number in self._tickets.wait_any(numbers):
            if self._alarms and number == self._alarms[-1][0]:
                self._alarms.pop()
            else:
                for future in self._waiting.pop(number, ()):
                    if not future.done():
                        future.set_result(None)

    def _set_alarm(self, due: float) -> int:
        """A ticket that wakes the loop in `due` seconds or before: one that is under way if it serves."""
        when = self.time() + due
        if not self._alarms or self._alarms[-1][1] > when:
            self._alarms.append((self._tickets.sleep(min(due, _LONGEST_SLEEP_S)), when))
        return self._alarms[-1][0]

    # turns

    def _turn(self) -> None:
        """Run what is ready; wait if nothing is."""
        due = self._next_timer()
        if not self._ready and (due is None or due > 0.0):
            self._suspend(due)
        elif self._turns >= _TURNS_WITHOUT_LOOKING and self._waiting:
            self._wait([*self._waiting, self._tickets.sleep(0.0)])
        self._turns += 1
        if self._timers:
            self._collect_timers()
        ready = self._ready
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                self._call(handle)
            del handle

    def _next_timer(self) -> float | None:
        """Seconds until the next timer is due, at least 0; None without timers."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers:
            return None
        return 0.0 if self._ready else max(0.0, timers[0][0] - self.time())

    def _collect_timers(self) -> None:
        timers, now = self._timers, self.time()
        while timers and timers[0][0] <= now:
            self._ready.append(heapq.heappop(timers)[2])

    def _call(self, handle: Handle) -> None:
        try:
            handle._context.run(handle._callback, *handle._args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.call_exception_handler(
                {"message": f"Exception in callback {handle._callback!r}", "exception": error, "handle": handle}
            )
        finally:
            del handle  # an error's traceback keeps this frame, which must not keep the task

    # running

    def run_until_complete(self, future: Generator[Any, None, T] | Awaitable[T]) -> T:
        """Run until it is done; its result."""
        if self._running or self._closed:
            raise RuntimeError("this event loop is running already" if self._running else "Event loop is closed")
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._generators.add, finalizer=self._finalize_generator)
        events._set_running_loop(self)
        self._running = True
        try:
            self._main = task = asyncio.ensure_future(future, loop=self)  # type: ignore[arg-type]
            while not task.done():
                self._turn()
            return task.result()
        finally:
            self._running = False
            events._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run `main`, then cancel the tasks that it left, as `asyncio.run` does; its result.

        A task that does not end when it is cancelled is left behind after a second.
        """
        try:
            return self.run_until_complete(main)
        finally:
            self.run_until_complete(self._end_tasks())
            self._closed = True

    async def _end_tasks(self) -> None:
        left = {task for task in asyncio.all_tasks(self) if task is not asyncio.current_task(self)}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_PATIENCE_S)
        for task in left:
            if task.done() and not task.cancelled() and task.exception() is not None:
                self.call_exception_handler(
                    {"message": "unhandled exception while the program's tasks end", "exception": task.exception()}
                )
        await self.shutdown_asyncgens()

    async def shutdown_asyncgens(self) -> None:
        """Close the asynchronous generators that were left open."""
        generators = list(self._generators)
        for outcome in await asyncio.gather(*[each.aclose() for each in generators], return_exceptions=True):
            if isinstance(outcome, Exception):
                self.call_exception_handler({"message": "closing a generator failed", "exception": outcome})

    def _finalize_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._generators.discard(generator)
        if not self._closed:
            self.call_soon(self.create_task, generator.aclose())

    def is_running(self) -> bool:
        """Whether it runs."""
        return self._running

    def is_closed(self) -> bool:
        """Whether the program has ended."""
        return self._closed

    def close(self) -> None:
        """Nothing is held."""
        self._closed = True

    def stop(self) -> None:
        """Refused: the program ends when `main` does."""
        raise RuntimeError("an inferlet ends when its `main` returns; its loop cannot be stopped")

    # callbacks

    def time(self) -> float:
        """Seconds of a clock that never goes back."""
        return time.monotonic()

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Handle:  # type: ignore[override]
        """Call it in the next turn."""
        handle = Handle(callback, args, copy_context() if context is None else context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """As `call_soon`: there is one thread."""
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """Call it after `delay` seconds."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """Call it when `time()` says `when`."""
        handle = Handle(callback, args, copy_context() if context is None else context, when)
        heapq.heappush(self._timers, (when, next(self._order), handle))
        return handle

    # tasks

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Generator[Any, None, T] | Coroutine[Any, Any, T], **how: Any) -> asyncio.Task[T]:
        """Run a coroutine as a task; `how` is what `asyncio.Task` takes (name, context, eager_start)."""
        if self._task_factory is not None:
            made: asyncio.Task[T] = self._task_factory(self, coro, **how)
            return made
        return asyncio.Task(coro, loop=self, **how)

    def set_task_factory(self, factory: Any) -> None:
        """Make tasks with it; None for the usual ones."""
        self._task_factory = factory

    def get_task_factory(self) -> Any:
        """What makes tasks, if set."""
        return self._task_factory

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Call it in the next turn: a program has one thread, and `asyncio.to_thread` works as far as that goes."""
        future: asyncio.Future[T] = asyncio.Future(loop=self)
        self.call_soon(_settle, future, func, args)
        return future

    # errors

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report what nobody is there to catch: to the program's handler if it has set one."""
        if self._exception_handler is not None:
            try:
                self._exception_handler(self, context)
                return
            except Exception as error:
                context = {"message": "the exception handler failed", "exception": error}
        self.default_exception_handler(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Report it."""
        self._report(context.get("message") or "Unhandled exception in event loop", context.get("exception"))

    def set_exception_handler(self, handler: Any) -> None:
        """Have errors that nobody catches reported to `handler(loop, context)`."""
        self._exception_handler = handler

    def get_exception_handler(self) -> Any:
        """The program's handler, if it has set one."""
        return self._exception_handler

    def get_debug(self) -> bool:
        """Whether asyncio checks more."""
        return self._debug

    def set_debug(self, enabled: bool) -> None:
        """Have asyncio check more."""
        self._debug = enabled

    def _timer_handle_cancelled(self, handle: Handle) -> None:
        """A part of asyncio's protocol between handles and loops; cancelled timers are skipped here."""


def _settle(future: asyncio.Future[T], func: Callable[..., T], args: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    try:
        future.set_result(func(*args))
    except Exception as error:
        future.set_exception(error)
