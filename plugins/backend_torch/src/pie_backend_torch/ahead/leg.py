"""A plan for some steps of some decodes: what they look at and where they write does not depend on what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from pie_backend_torch.ahead.captured import Shape
from pie_backend_torch.decoder import Decoder
from pie_backend_torch.kernels import Room
from pie_backend_torch.pool import KvPool
from pie_backend_torch.step import Ints, Span

_FEWEST_ENTRIES = 64


class Course(Protocol):
    """One decode as this needs to know it (`pie_traits_decode.running.Run`).

    pages: that it looks at, and fills. live: for each of them, the bit mask of the slots that are context by now.
    position: where the next token stands. pending: that token, where the host knows it. left: how many are still to be
    drawn, of which some may be on their way. adjusted: whether its distributions are changed before tokens are drawn.
    command: the `Decode`.
    """

    pending: int | None
    ended: bool
    adjusted: bool
    tokens: Sequence[int]
    command: Any

    @property
    def left(self) -> int: ...

    @property
    def pages(self) -> Sequence[Any]: ...

    @property
    def live(self) -> Sequence[int]: ...

    @property
    def position(self) -> int: ...

    def next_slots(self, most: int) -> Sequence[tuple[int, int]]:
        """Of the tokens that are run next, the place among `pages` and the slot there."""
        ...

    def has_run(self) -> None:
        """The next one is launched."""
        ...

    def take(self, token: int) -> None:
        """The next token is known."""
        ...


class Leg:
    """The next `ticks` steps of the decodes in `rows`, as arrays; None: a row of padding.

    With several ticks the slots of all of them are shown from the start; what was not written yet is hidden by its
    position, which goes to the pool before (`reserved`). on_way: for each decode, tokens that are drawn and not known.
    fixed: all arrays have lengths that depend on `shape` alone.
    """

    def __init__(
        self,
        decoder: Decoder,
        pool: KvPool,
        rows: Sequence[Course | None],
        on_way: Sequence[int],
        ticks: int,
        fixed: bool,
    ) -> None:
        self.ticks = ticks
        size, scratch = pool.page_size, pool.scratch_slot
        slots = np.full((len(rows), ticks), scratch, dtype=np.int64)
        starts: Ints = np.zeros(len(rows), dtype=np.int64)
        spans, reserved = [], []
        for row, one in enumerate(rows):
            if one is None:
                spans.append(Span([], [], [scratch], [0]))
                continue
            spans.append(_span(one, ticks, size))
            taken = [one.pages[place].index * size + slot for place, slot in one.next_slots(ticks)]
            slots[row, : len(taken)] = taken
            starts[row] = one.position
            reserved += [(slot, one.position + tick) for tick, slot in enumerate(taken)]
        commands = [None if one is None else one.command for one in rows]
        entries = sum(len(span.pages) + 1 for span in spans)
        greedy = all(command is None or command.temperature == 0 for command in commands)
        self.shape = Shape(len(rows), max(_FEWEST_ENTRIES, 1 << (entries - 1).bit_length()), ticks, greedy)
        room = Room(len(rows), self.shape.entries) if fixed else None
        self.plan = decoder.kernels.attention.plan(spans, size, False, room)
        self.arrays = [starts, slots.reshape(-1), *_settings(rows, on_way), *self.plan.arrays]
        self.reserved: Ints = np.array(reserved, dtype=np.int64).reshape(-1, 2).T


def _span(one: Course, ticks: int, size: int) -> Span:
    """What a decode looks at in all of these steps, the page that it writes to first behind the others."""
    (first, offset), *later = one.next_slots(ticks)
    live = list(one.live)
    for place, slot in later:
        live[place] |= 1 << slot
    seen = [place for place in range(len(live)) if live[place] and place != first]
    seen += [first] if live[first] else []
    pages = [one.pages[place].index for place in seen]
    return Span(pages, [live[place] for place in seen], [one.pages[first].index * size + offset], [one.position])


def _settings(rows: Sequence[Course | None], on_way: Sequence[int]) -> list[Ints]:
    commands = [None if one is None else one.command for one in rows]
    floats = [
        np.array([0.0 if c is None else getattr(c, name) for c in commands], dtype=np.float64).view(np.int64)
        for name in ("temperature", "top_p", "min_p")
    ]
    top_k = [1 if c is None or c.top_k is None else c.top_k for c in commands]
    seeds = [0 if c is None else c.seed for c in commands]
    numbers = [
        0 if one is None else one.command.draw + len(one.tokens) + some for one, some in zip(rows, on_way, strict=True)
    ]
    return [*floats, np.array(top_k, dtype=np.int64), *(_bits(values) for values in (seeds, numbers))]


def _bits(unsigned: Sequence[int]) -> Ints:
    return np.array([value & (1 << 64) - 1 for value in unsigned], dtype=np.uint64).view(np.int64)
