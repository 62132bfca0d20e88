"""Moving resources between the device and host memory, as commands that the device thread runs in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pie_core.command import Command, Planned
from pie_core.inference.backend import Swapper
from pie_core.resource import Resource


class SwapOut(Command):
    """Copy resources to host memory; the result is the copy."""

    kind: Planned[type[Resource]]
    indices: Planned[tuple[int, ...]]

    @property
    def weight(self) -> int:
        return len(self.indices)


class SwapIn(Command):
    """Write a copy back to resources, wherever they are now."""

    kind: Planned[type[Resource]]
    copy: Planned[Any]
    indices: Planned[tuple[int | None, ...]]  # None: this one is not wanted any more

    @property
    def weight(self) -> int:
        return len(self.indices)


def swap_routes(swapper: Swapper) -> dict[type[Command], Callable[[Sequence[Any]], Sequence[Any] | None]]:
    """What the device thread calls for each of them."""

    def swap_out(batch: Sequence[SwapOut]) -> list[object]:
        return [swapper.swap_out(command.kind, command.indices) for command in batch]

    def swap_in(batch: Sequence[SwapIn]) -> None:
        for command in batch:
            swapper.swap_in(command.kind, command.copy, command.indices)

    return {SwapOut: swap_out, SwapIn: swap_in}
