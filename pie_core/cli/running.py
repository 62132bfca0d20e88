"""Runs one program from start to end and shows its events; the part of `pie-core run` that needs an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from pie_core.application.events import Ended
from pie_core.application.inferlet import Inferlet
from pie_core.application.program import Program
from pie_core.cli.command import INTERRUPTED
from pie_core.cli.printer import Printer
from pie_core.cli.progress import LoadingProgress
from pie_core.cli.stdin import deliver_lines
from pie_core.controller import Controller, Settings
from pie_core.server.events import events_of
from pie_core.server.interruption import Interruption
from pie_core.server.tasks import task_group

INTERRUPTION = "interrupted"


async def run_here(
    settings: Settings,
    program: Program,
    arguments: Sequence[str],
    blobs: Sequence[bytes],
    printer: Printer,
    interactive: bool,
) -> int:
    """Load the model, run the program in this process; the exit code."""
    progress = LoadingProgress()
    with Interruption(early_code=INTERRUPTED) as interruption:
        async with Controller(settings, progress) as controller:
            application = controller.application
            inferlet = await application.launch(program, arguments, blobs=blobs)
            progress.done()
            interruption.ask = lambda _: application.stop(inferlet, INTERRUPTION)
            deliver_stdin(_deliver_to(inferlet), interactive)
            async for event in events_of(inferlet):
                printer.show(event)
            assert inferlet.outcome is not None
            return exit_code(inferlet.outcome)


async def run_there(
    url: str,
    api_key: str | None,
    program: str,
    arguments: Sequence[str],
    blobs: Sequence[bytes],
    printer: Printer,
    interactive: bool,
) -> int:
    """Run the program on a server; the exit code."""
    from pie_core.client import Client

    with Interruption(early_code=INTERRUPTED) as interruption:
        async with Client(url, api_key) as client, task_group() as group:
            inferlet = await client.launch(program, arguments, blobs=blobs)
            interruption.ask = lambda _: group.create_task(inferlet.stop(INTERRUPTION))
            deliver_stdin(inferlet.send, interactive)
            async for event in inferlet:
                printer.show(event)
            interruption.ask = None  # nothing is left to stop
            assert inferlet.outcome is not None
            return exit_code(inferlet.outcome)


def exit_code(ended: Ended) -> int:
    """What the shell gets to see."""
    if ended.status == "finished":
        return 0
    return INTERRUPTED if ended.status == "stopped" and ended.error == INTERRUPTION else 1


def deliver_stdin(deliver: Callable[[str], Awaitable[None]], interactive: bool) -> None:
    """Start to deliver the lines of stdin, if that was asked for."""
    if interactive:
        deliver_lines(0, deliver, asyncio.get_running_loop())


def _deliver_to(inferlet: Inferlet) -> Callable[[str], Awaitable[None]]:
    async def deliver(line: str) -> None:
        inferlet.deliver(line)

    return deliver
