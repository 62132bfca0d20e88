"""What crosses from the control layer to the device and back: batches, in waves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from pie_core.command import Command
from pie_core.errors import PieError
from pie_core.resource import Resource


class Entry(Protocol):
    """One command of a batch, with the resources it touches.

    If it runs in steps: stopped, whether it is not to go on; share, of each step that it took part in, one divided by
    how many did.
    """

    command: Command
    reads: Sequence[Resource]
    writes: Sequence[Resource]
    stopped: bool
    share: float


E = TypeVar("E", bound=Entry)


@dataclass(slots=True)
class Batch(Generic[E]):
    """Commands of one `batch_kind`, independent of each other, for one launch.

    The device fills in one result per entry, and an error, by place, for those that failed.
    """

    kind: type[Command]
    entries: list[E]
    results: list[Any] = field(default_factory=list)
    errors: dict[int, PieError] = field(default_factory=dict)


@dataclass(slots=True)
class Wave(Generic[E]):
    """Batches launched back to back; an entry may depend on entries of earlier batches. Times in seconds.

    chained: launched while another wave was in flight, so that an entry may depend on one whose fate was unknown.
    """

    batches: list[Batch[E]] = field(default_factory=list)
    launched_at: float = 0.0
    chained: bool = False
