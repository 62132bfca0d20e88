"""What a simulated program and the harness know of each other."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from pie_core.testing.simulation.world import Operation


@dataclass
class Page:
    """A page as its program knows it. used, hidden: bit masks over its slots; None: imported, and not known."""

    handle: int
    used: int | None = 0
    hidden: int = 0
    shared: bool = False
    export: str | None = None  # the name it is exported under for good, so that writing it is refused for sure


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
    patience: int = 0  # cancellations that the program will swallow
    over: bool = False  # it has learnt that it was ended


stage: ContextVar[Stage] = ContextVar("simulation_stage")
"""That of the inferlet which is running."""


def fill(pages: Sequence[Page], count: int, size: int) -> None:
    """Forward wrote `count` tokens into the free slots of pages, in order."""
    for page in pages:
        for slot in range(size):
            if count and page.used is not None and not page.used >> slot & 1:
                page.used |= 1 << slot
                count -= 1


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
