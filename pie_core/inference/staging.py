"""The part of a command of the device that runs on a thread of the host before it, as a command of the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from pie_core.command import Command, Place, Planned

StageMethod = Callable[[Any], object]


class Stage(Command):
    """Have the handler prepare a command (`Command.staged`)."""

    place: ClassVar[Place] = "host"
    of: Planned[Command]


def stage_route(methods: Mapping[type[Command], StageMethod]) -> Callable[[Sequence[Any]], None]:
    """What a thread of the host calls for `Stage`."""

    def stage(batch: Sequence[Stage]) -> None:
        (command,) = batch
        methods[type(command.of)](command.of)

    return stage
