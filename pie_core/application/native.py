"""Trusted tier: the program is an asyncio task of this process. Breakpoints work; nothing is isolated."""

from __future__ import annotations

import asyncio
import builtins
import io
import linecache
import sys
import traceback
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextvars import Context as VariableContext
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

import inferlet as sdk
from inferlet.calls import install
from inferlet.errors import PieError as SdkError
from inferlet.errors import from_code
from inferlet.host import Ticket as GuestTicket
from inferlet.host import current

from pie_core.application.events import Output
from pie_core.application.host import Host
from pie_core.application.interface import describe
from pie_core.application.program import Program
from pie_core.control.ticket import Ticket
from pie_core.errors import PieError, ProgramError

_CACHED_PROGRAMS = 256
_SDK_DIRECTORY = str(Path(sdk.__file__).parent)
_SERVER_DIRECTORY = str(Path(__file__).parent.parent)


class NativeHost:
    """`inferlet.host.Host` over a `Host` of this process."""

    def __init__(self, host: Host, loop: asyncio.AbstractEventLoop) -> None:
        self._call = host.call
        self._loop = loop
        self.tasks: set[asyncio.Task[Any]] = set()  # that the program has started

    def call(self, name: str, model: str | None, queue: int | None, arguments: Sequence[Any]) -> Any:
        """See `inferlet.host.Host.call`."""
        try:
            return self._call(name, model, queue, arguments)
        except PieError as error:
            raise from_code(error.code, str(error)) from None

    def defer(self, release: Callable[[], None]) -> None:
        """See `inferlet.host.Host.defer`."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._release, release)

    async def wait(self, ticket: GuestTicket) -> Any:
        """See `inferlet.host.Host.wait`."""
        assert isinstance(ticket, Ticket)
        if not ticket.done:
            arrived = self._loop.create_future()
            ticket.watch(lambda _: None if arrived.done() else arrived.set_result(None))
            await arrived
        try:
            return ticket.result()
        except PieError as error:
            raise from_code(error.code, str(error)) from None

    def _release(self, release: Callable[[], None]) -> None:
        token = current.set(self)
        try:
            release()
        except SdkError:
            pass  # the inferlet has ended: the server has taken everything back already
        finally:
            current.reset(token)


class NativeTier:
    """Runs programs as tasks of the running event loop."""

    name = "native"

    def __init__(self) -> None:
        self._compiled: OrderedDict[Program, CodeType] = OrderedDict()

    async def prepare(self, program: Program) -> None:
        """See `Tier.prepare`."""
        self._code(program)

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
            for task in guest.tasks - {asyncio.current_task()}:
                task.cancel()

    async def _run_main(self, host: Host) -> str | None:
        program = host.inferlet.program
        module = ModuleType(f"inferlet_{host.inferlet.id}")
        module.__file__ = program.filename
        output = _Output(host)
        module.__dict__["print"] = lambda *values, **how: builtins.print(*values, **{"file": output, **how})
        sys.modules[module.__name__] = module
        try:
            exec(self._code(program), module.__dict__)
            value = await module.main()
        except Exception as error:
            raise ProgramError(program_traceback(error, program)) from error
        finally:
            del sys.modules[module.__name__]
        if value is not None and not isinstance(value, str):
            raise ProgramError(f"{program.filename}: main returned {type(value).__name__}; return a str or None")
        return value

    def _code(self, program: Program) -> CodeType:
        code = self._compiled.get(program)
        if code is None:
            code = self._compiled[program] = program.compile()
            if len(self._compiled) > _CACHED_PROGRAMS:
                self._compiled.popitem(last=False)
        return code


class _Output(io.TextIOBase):
    """What the program prints goes to its client."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def write(self, text: str) -> int:
        if text:
            self._host.inferlet.check_size(text)
            self._host.inferlet.emit(Output(text))
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
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, context=context)
    guest = current.get(None) if context is None else context.get(current)
    if isinstance(guest, NativeHost):
        guest.tasks.add(task)
        task.add_done_callback(guest.tasks.discard)
    return task


def program_traceback(error: BaseException, program: Program) -> str:
    """The traceback of a program's error with its own lines and those of libraries, without the server's and SDK's."""
    lines = program.source.splitlines(keepends=True)
    linecache.cache[program.filename] = (len(program.source), None, lines, program.filename)
    try:
        summary = traceback.TracebackException(type(error), error, _own_frames(error.__traceback__), compact=True)
        return "".join(summary.format()).rstrip()
    finally:
        linecache.cache.pop(program.filename, None)


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    if trace is None:
        return None
    rest = _own_frames(trace.tb_next)
    where = trace.tb_frame.f_code.co_filename
    if where.startswith((_SDK_DIRECTORY, _SERVER_DIRECTORY, "<inferlet.")):
        return rest
    return TracebackType(rest, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
