"""A plan for some steps of some decodes: what they look at and where they write does not depend on what is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pie_backend_torch.ahead.captured import Shape
from pie_backend_torch.ahead.lines import Lines
from pie_backend_torch.kernels import Attention, AttentionPlan, PlansSteps, Room, power_of_two
from pie_backend_torch.step import Ints, Span


class EachStep:
    """Steps of an attention that plans each by itself, for the lengths that it has. See `kernels.PlansSteps`."""

    def __init__(self, attention: Attention, page_size: int) -> None:
        self._attention, self._page_size = attention, page_size

    def look(self, pages: Ints, live: Ints, slot: int, position: int) -> Span:
        page, offset = divmod(slot, self._page_size)
        context = np.where(pages == page, live & ~(1 << offset), live)
        seen = np.flatnonzero(context)
        seen = np.concatenate([seen[pages[seen] != page], seen[pages[seen] == page]])  # the page that is written, last
        return Span(pages[seen].tolist(), context[seen].tolist(), [slot], [position])

    def plan_steps(self, looks: Sequence[Span], room: Room) -> AttentionPlan:
        return self._attention.plan(looks, self._page_size, False)


class Leg:
    """The next steps of the decodes in `rows`, which are at `positions` [rows], as arrays; all other rows are padding.

    `ticks` is for how many steps it is good. fixed: all arrays have lengths that depend on `shape` alone.
    """

    def __init__(self, attention: PlansSteps, lines: Lines, rows: Ints, positions: Ints, fixed: bool) -> None:
        count = int(rows.max()) + 1
        if fixed:
            count = power_of_two(count)
        room = Room.holding(count, lines.entries(rows, count))
        self.ticks = min(lines.ticks, int(lines.left(rows, positions).min()))
        changed = lines.changed(rows)
        self.shape = Shape(count, room.entries, lines.ticks, lines.greedy(rows) and not changed, changed)
        self.plan = attention.plan_steps(lines.looks(rows, count), room)
        self.arrays: Sequence[Ints] = [*lines.arrays(rows, positions, count), *self.plan.arrays]
