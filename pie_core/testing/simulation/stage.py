"""What a simulated program and the harness know of each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any

from pie_core.testing.simulation.world import Operation


@dataclass(eq=False)
class Stay:
    """Slots of a page that a command which runs in steps has reserved, and those of them that it fills."""

    future: Any
    reserved: int
    filled: int
    sure: bool  # to fill all, so that it does not matter for others whether it has ended


@dataclass
class Page:
    """A page as its program knows it. used, hidden: bit masks over its slots; None: imported, and not known.

    stays: those that are not known to be over, in order.
    """

    handle: int
    used: int | None = 0
    hidden: int = 0
    shared: bool = False
    export: str | None = None  # the name it is exported under for good, so that writing it is refused for sure
    stays: list[Stay] = field(default_factory=list)

    @property
    def reserved(self) -> int:
        """Bit mask of the slots that somebody fills, as far as is known."""
        return bits(stay.reserved for stay in self.stays)

    def end(self, future: Any, well: bool) -> None:
        """What it waits for is over."""
        for stay in [stay for stay in self.stays if stay.future is future]:
            self.stays.remove(stay)
            if self.used is not None and well:
                self.used |= stay.filled

    def may_be(self, used: int, hidden: int, reserved: int) -> bool:
        """Whether this is what the host may have: the first few of the stays are over, well or badly."""
        changed = used ^ (self.used or 0)
        for count in range(len(self.stays) + 1):
            over, left = self.stays[:count], self.stays[count:]
            well = all(changed & stay.reserved in (0, stay.filled) for stay in over)
            if reserved == bits(stay.reserved for stay in left) and well:
                return hidden == self.hidden and not changed & ~bits(stay.reserved for stay in over)
        return False


@dataclass
class Vector:
    """An Embed as its program knows it. fails: a forward pass over it fails on the device."""

    handle: int
    position: int | None = None
    fails: bool = False


@dataclass
class Stage:
    """What the harness hands to one inferlet, and what it gets back.

    notes: by task of the program ("", "0", "0.1", ...). partial: tasks that were cut short by the program itself.
    sent, received: messages accepted from and handed to the program, in order. lossy: sending may fail by timing.
    """

    operations: Sequence[Operation]
    lossy: bool = False
    notes: dict[str, list[str]] = field(default_factory=dict)
    partial: set[str] = field(default_factory=set)
    sent: list[str] = field(default_factory=list)
    received: list[str] = field(default_factory=list)
    pages: dict[int, Page] = field(default_factory=dict)  # what it believes to hold, by handle
    embeds: dict[int, Vector] = field(default_factory=dict)
    handles: set[int] = field(default_factory=set)  # all that the program was ever given
    tainted: bool = False
    unsure: set[str] = field(default_factory=set)  # exports of what was not known to be over
    patience: int = 0  # cancellations that the program will swallow
    over: bool = False  # it has learnt that it was ended


stage: ContextVar[Stage] = ContextVar("simulation_stage")
"""That of the inferlet which is running."""


def bits(masks: Iterable[int]) -> int:
    """All of them together."""
    return reduce(or_, masks, 0)


def free_slots(pages: Sequence[Page], count: int, size: int) -> list[tuple[Page, int]]:
    """The first `count` free slots of pages, in order, as far as they are known."""
    known = [page for page in pages if page.used is not None]
    return [
        (page, slot) for page in known for slot in range(size) if not ((page.used or 0) | page.reserved) >> slot & 1
    ][:count]


def fill(pages: Sequence[Page], count: int, size: int) -> None:
    """Forward wrote `count` tokens into the free slots of pages, in order."""
    for page, slot in free_slots(pages, count, size):
        page.used = (page.used or 0) | 1 << slot


def copy(source: Page, target: Page, source_start: int, target_start: int, length: int | None) -> None:
    """Slots of one page were copied to another, with whether they are hidden."""
    if source.used is None or target.used is None:
        target.used = None
        return
    if length is None:
        length = max(0, source.used.bit_length() - source_start)
    for step in range(length):
        here, there = 1 << source_start + step, 1 << target_start + step
        target.used = target.used | there if source.used & here else target.used & ~there
        target.hidden = target.hidden | there if source.hidden & here else target.hidden & ~there
