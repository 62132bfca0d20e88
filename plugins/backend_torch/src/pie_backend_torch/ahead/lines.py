"""What the decode in each row looks at, where it writes, and how it draws: found once, and kept from plan to plan."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from pie_backend_torch.course import Course
from pie_backend_torch.kernels import PlansSteps
from pie_backend_torch.pool import KvPool
from pie_backend_torch.step import Ints, ranges

SETTINGS = 8
"""Arrays: temperature, top_p, min_p, presence, frequency (bits of float64), top_k, seed, the next draw's number."""


class Lines:
    """Arrays by row. A line is good for `ticks` tokens of its decode; then, or before, it is renewed.

    The slots of all of these tokens are shown from the start; what was not written yet is hidden by its position, which
    is to go to the pool before. Tokens behind the last one that the decode may run go to the pool's scratch slot, so a
    line that holds the last is good for ever.
    """

    def __init__(self, rows: int, ticks: int, pool: KvPool, attention: PlansSteps) -> None:
        self.ticks = ticks
        self._pool, self._attention = pool, attention
        scratch, one = np.array([pool.scratch_slot // pool.page_size]), np.ones(1, dtype=np.int64)
        self._padding: Any = attention.look(scratch, one, pool.scratch_slot, 0)
        self._looks: list[Any] = [self._padding] * rows
        self._pages: list[Ints] = [np.zeros(0, dtype=np.int64)] * rows  # physical indices
        self._entries: Ints = np.ones(rows, dtype=np.int64)  # pages at the most
        self._slots = np.full((rows, 2 * ticks), pool.scratch_slot, dtype=np.int64)  # the right half stays as it is
        self._first: Ints = np.zeros(rows, dtype=np.int64)  # the position of the token that the first slot is of
        self._good: Ints = np.zeros(rows, dtype=np.int64)  # for how many tokens
        self._settings: Ints = np.zeros((SETTINGS, rows), dtype=np.int64)  # the last: a draw's number less its position
        self._changed = np.zeros(rows, dtype=np.bool_)

    def put(self, rows: Sequence[int], ones: Sequence[Course], on_way: Sequence[int]) -> tuple[Ints, Ints]:
        """These decodes have the rows now; of each so many tokens are drawn and not known. As `renew`."""
        for row, one in zip(rows, ones, strict=True):
            self._pages[row] = np.array([page.index for page in one.pages], dtype=np.int64)
        commands = [one.command for one in ones]
        floats = [(how.temperature, how.top_p, how.min_p, how.presence, how.frequency) for how in commands]
        numbers = [
            one.command.draw + len(one.tokens) + some - one.position for one, some in zip(ones, on_way, strict=True)
        ]
        columns = list(rows)
        self._changed[columns] = [one.adjustment is not None for one in ones]
        self._settings[:5, columns] = np.array(floats, dtype=np.float64).view(np.int64).T
        self._settings[5, columns] = [command.top_k or 1 for command in commands]
        self._settings[6, columns] = _bits([command.seed for command in commands])
        self._settings[7, columns] = _bits(numbers)
        return self.renew(rows, ones)

    def renew(self, rows: Sequence[int], ones: Sequence[Course]) -> tuple[Ints, Ints]:
        """The rows are good for `ticks` tokens again. Slots and their positions, [tokens] each, that are to be hidden.

        One look for all of them at once, since programs like to come together.
        """
        coming = [one.next_slots(self.ticks) for one in ones]
        counts: Ints = np.array([len(slots) for slots in coming], dtype=np.int64)
        owner, number = np.arange(len(ones)).repeat(counts), ranges(np.zeros(len(ones), dtype=np.int64), counts)
        places, offsets = np.fromiter(chain.from_iterable(chain.from_iterable(coming)), np.int64).reshape(-1, 2).T
        pages = np.concatenate([self._pages[row] for row in rows])
        sizes = np.array([len(self._pages[row]) for row in rows], dtype=np.int64)
        bases = sizes.cumsum() - sizes
        places = bases[owner] + places
        # none of these slots is live yet, so that adding its bit sets it
        live = np.fromiter(chain.from_iterable([one.live for one in ones]), np.int64)
        live += np.bincount(places, weights=1 << offsets, minlength=len(live)).astype(np.int64)
        slots: Ints = pages[places] * self._pool.page_size + offsets
        first: Ints = np.array([one.position for one in ones], dtype=np.int64)
        self._show(rows, pages, live, bases, slots[number == 0].tolist(), first.tolist())
        columns: Ints = np.array(rows, dtype=np.int64)
        self._slots[columns, : self.ticks] = self._pool.scratch_slot
        self._slots[columns[owner], number] = slots
        self._first[columns] = first
        self._good[columns] = np.where(counts == self.ticks, self.ticks, np.iinfo(np.int64).max)
        return slots, first[owner] + number

    def _show(
        self, rows: Sequence[int], pages: Ints, live: Ints, bases: Ints, slots: list[int], positions: list[int]
    ) -> None:
        seen = live != 0
        ends = np.add.reduceat(seen, bases, dtype=np.int64).cumsum()
        pages, live = pages[seen], live[seen]
        begin = 0
        for row, end, slot, position in zip(rows, ends.tolist(), slots, positions, strict=True):
            self._looks[row] = self._attention.look(pages[begin:end], live[begin:end], slot, position)
            self._entries[row] = end - begin
            begin = end

    def left(self, rows: Ints, positions: Ints) -> Ints:
        """For how many tokens the lines are still good, [rows], of decodes that are at these positions."""
        left: Ints = self._good[rows] - (positions - self._first[rows])
        return left

    def looks(self, rows: Ints, count: int) -> list[Any]:
        """What each of `count` rows looks at; those that are not in `rows`, at what nobody reads."""
        looks = [self._padding] * count
        for row in rows.tolist():
            looks[row] = self._looks[row]
        return looks

    def entries(self, rows: Ints, count: int) -> int:
        """Pages that `looks` may have, all together."""
        return int(self._entries[rows].sum()) + count - len(rows)

    def greedy(self, rows: Ints) -> bool:
        """Whether none draws at random."""
        return not self._settings[0, rows].any()

    def changed(self, rows: Ints) -> bool:
        """Whether some have biases or penalties."""
        return bool(self._changed[rows].any())

    def arrays(self, rows: Ints, positions: Ints, count: int) -> list[Ints]:
        """Those of a `captured.Pass` before its attention's, for `count` rows."""
        starts: Ints = np.zeros(count, dtype=np.int64)
        starts[rows] = positions
        slots = np.full((count, self.ticks), self._pool.scratch_slot, dtype=np.int64)
        gone = rows * self._slots.shape[1] + positions - self._first[rows]  # where the next ones are in all of them
        slots[rows] = self._slots.take(gone[:, None] + np.arange(self.ticks))
        settings: Ints = np.zeros((SETTINGS, count), dtype=np.int64)
        settings[5] = 1
        settings[:, rows] = self._settings[:, rows]
        settings[-1, rows] += positions
        return [starts, slots.reshape(-1), *settings]


def _bits(numbers: Sequence[int]) -> Ints:
    """Those of unsigned numbers, of which the lowest 64 count."""
    return np.array([number & (1 << 64) - 1 for number in numbers], dtype=np.uint64).view(np.int64)
