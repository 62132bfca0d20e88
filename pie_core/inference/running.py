"""Having a handler run commands, so that what fails is the commands that must and no others."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from pie_core.command import Command, Place
from pie_core.errors import DeviceError, PieError

log = structlog.get_logger(__name__)

Route = Callable[[Sequence[Command]], Sequence[Any] | None]
Outcome = tuple[Any, PieError | None]
"""A result, or an error."""


def run_together(route: Route, commands: Sequence[Command]) -> list[Outcome]:
    """One batch; if it fails, its commands one by one."""
    try:
        return [(result, None) for result in answers(route, commands)]
    except Exception as error:
        if len(commands) == 1:
            return [(None, device_error(commands[0], error))]
        log.warning("batch.failed", call=type(commands[0]).__name__, size=len(commands), error=str(error))
    return [run_together(route, [command])[0] for command in commands]


def answers(route: Route, commands: Sequence[Command]) -> Sequence[Any]:
    """What the handler gives for each command. Raises what it raises, and `DeviceError` if they are not as many."""
    given = route(commands)
    if given is None:
        return [None] * len(commands)
    if len(given) != len(commands):
        raise DeviceError(
            f"the handler gave {len(given)} results for {len(commands)} commands; report it to its author"
        )
    return given


def device_error(command: Command, error: BaseException, place: Place = "device") -> PieError:
    """What the program is told."""
    if isinstance(error, PieError):
        return error
    log.error("command.failed", call=type(command).__name__, traceback="".join(traceback.format_exception(error)))
    name = command.signature().name
    wrapped = DeviceError(f"{name} failed on the {place}: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
