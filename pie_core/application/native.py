"""Trusted tier: the program is an asyncio task of this process. Breakpoints work; nothing is isolated."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Callable, Coroutine, Generator, Sequence, Set
from contextvars import Context as VariableContext
from functools import lru_cache, partial
from pathlib import Path
from threading import get_ident
from types import ModuleType
from typing import Any

import inferlet as sdk
import inferlet_guest as guest
from inferlet.calls import install
from inferlet.errors import PieError as SdkError
from inferlet.errors import from_code
from inferlet.host import Ticket as GuestTicket
from inferlet.host import current
from inferlet_guest.program import Contained, print_at_once, program_traceback, wrong_result

from pie_core.application.channel import Reading
from pie_core.application.events import Output
from pie_core.application.host import Host
from pie_core.application.interface import describe
from pie_core.application.program import Program
from pie_core.application.tier import Prepared
from pie_core.control.ticket import Ticket
from pie_core.errors import PieError, ProgramError

_CACHED_PROGRAMS = 256
_RETRY_S = 0.5
_FOREIGN = (
    *(f"{Path(module.__file__ or '').parent}{os.sep}" for module in (sdk, guest)),
    f"{Path(__file__).parent.parent}{os.sep}",
    "<inferlet.",
)


class NativeHost:
    """`inferlet.host.Host` over a `Host` of this process."""

    def __init__(self, host: Host, loop: asyncio.AbstractEventLoop) -> None:
        self._call = host.call
        self._abandon = host.abandon
        self._loop = loop
        self._thread = get_ident()
        self.tasks: set[asyncio.Task[Any]] = set()  # that the program has started
        self.idle_queues: dict[str, list[int]] = {}  # see `inferlet.host.Host`

    def call(self, name: str, model: str | None, queue: int | None, arguments: Sequence[Any]) -> Any:
        """See `inferlet.host.Host.call`."""
        try:
            value = self._call(name, model, queue, arguments)
        except PieError as error:
            raise from_code(error.code, str(error)) from None
        return _Place(self, value) if isinstance(value, Reading) else value

    def defer(self, release: Callable[[], None]) -> None:
        """See `inferlet.host.Host.defer`."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._release, release)

    async def wait(self, ticket: GuestTicket) -> Any:
        """See `inferlet.host.Host.wait`."""
        place = ticket  # kept as long as it is waited for
        if isinstance(place, _Place):
            ticket = place.reading
        assert isinstance(ticket, Ticket)
        if not ticket.done:
            arrived = self._loop.create_future()
            ticket.watch(lambda _: None if arrived.done() else arrived.set_result(None))
            try:
                await arrived
            except asyncio.CancelledError:
                self.abandon(ticket)
                raise
        try:
            return ticket.result()
        except PieError as error:
            raise from_code(error.code, str(error)) from None

    def abandon(self, ticket: Ticket) -> None:
        """Nobody waits for a ticket any more. May be called from any thread (finalizers)."""
        if get_ident() == self._thread:
            self._abandon(ticket)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._abandon, ticket)

    def cancel_tasks(self) -> None:
        """Cancel what the program has started, again and again if it swallows it."""
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            self._loop.call_later(_RETRY_S, self.cancel_tasks)

    def _release(self, release: Callable[[], None]) -> None:
        token = current.set(self)
        try:
            release()
        except SdkError:
            pass  # the inferlet has ended: the server has taken everything back already
        finally:
            current.reset(token)


class _Place:
    """A program's place in a line of messages. When nobody can ask for the message any more, the next one gets it."""

    __slots__ = ("_host", "reading")

    def __init__(self, host: NativeHost, reading: Reading) -> None:
        self._host = host
        self.reading = reading

    @property
    def done(self) -> bool:
        """See `inferlet.host.Ticket.done`."""
        return self.reading.done

    def result(self) -> Any:
        """See `inferlet.host.Ticket.result`."""
        return self.reading.result()

    def __del__(self) -> None:
        self._host.abandon(self.reading)


class NativeTier:
    """Runs programs as tasks of the running event loop."""

    name = "native"
    isolates = False
    most_bytes: int | None = None

    def __init__(self) -> None:
        self._code = lru_cache(_CACHED_PROGRAMS)(Program.compile)
        self._calls = lru_cache(_CACHED_PROGRAMS)(Program.calls)  # milliseconds each, so once

    async def warm_up(self) -> None:
        """See `Tier.warm_up`."""

    async def prepare(self, program: Program, known: Set[str]) -> Prepared:
        """See `Tier.prepare`."""
        self._code(program)
        return Prepared(program.manifest, self._calls(program, frozenset(known)))

    async def run(self, host: Host) -> str | None:
        """See `Tier.run`."""
        loop = asyncio.get_running_loop()
        _track_tasks(loop)
        for model in host.models.values():
            install(describe(model.traits.values()))
        guest = NativeHost(host, loop)
        current.set(guest)
        try:
            return await self._run_main(host)
        finally:
            guest.cancel_tasks()

    def close(self) -> None:
        """See `Tier.close`."""

    async def _run_main(self, host: Host) -> str | None:
        program = host.inferlet.program
        module = ModuleType(f"inferlet_{host.inferlet.id}")
        module.__file__ = program.filename
        module.__dict__["print"] = partial(print_at_once, _Output(host).write)
        sys.modules[module.__name__] = module
        try:
            exec(self._code(program), module.__dict__)
            value = await module.main()
        except (Exception, SystemExit) as error:
            raise ProgramError(_told(error, program)) from error
        finally:
            del sys.modules[module.__name__]
        wrong = wrong_result(program.filename, value)
        if wrong is not None:
            raise ProgramError(wrong)
        text: str | None = value
        return text


class _Output(io.TextIOBase):
    """What the program prints goes to its client."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def write(self, text: str) -> int:
        try:
            if text:
                self._host.inferlet.check_size(text)
                self._host.inferlet.emit(Output(text))
        except PieError as error:
            raise from_code(error.code, str(error)) from None
        return len(text)


def _track_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Make the loop note which inferlet starts a task, so that no task outlives its inferlet."""
    if loop.get_task_factory() is not _start_task:
        loop.set_task_factory(_start_task)


def _start_task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    context: VariableContext | None = None,
) -> asyncio.Task[Any]:
    guest = current.get(None) if context is None else context.get(current)
    if not isinstance(guest, NativeHost):
        return asyncio.Task(coroutine, loop=loop, context=context)
    task: asyncio.Task[Any] = asyncio.Task(Contained(coroutine), loop=loop, context=context)
    guest.tasks.add(task)
    task.add_done_callback(guest.tasks.discard)
    return task


def _told(error: BaseException, program: Program) -> str:
    return program_traceback(error, program.filename, program.source, _FOREIGN)
