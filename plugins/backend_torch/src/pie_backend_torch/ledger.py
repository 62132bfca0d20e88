"""What the host knows of the positions in a pool, for attention that must choose its kernel before it can read them.

Exact for the slots that it vouches for and silent on all others: of every page it keeps one *base*, and which slots
stand at base + offset. A page that is filled in order is known whole; one with gaps between positions is known in part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class Ledger:
    """A base and a bit mask of slots for each page. Whoever writes positions to the pool tells it (see `KvPool`)."""

    def __init__(self, pages: int, page_size: int) -> None:
        self._size = page_size
        self._bases: Ints = np.zeros(pages, dtype=np.int64)
        self._known: Ints = np.zeros(pages, dtype=np.int64)

    def write(self, slots: Ints, positions: Ints) -> None:
        """These slots stand at these positions from now on."""
        pages, offsets = np.divmod(slots, self._size)
        bases = positions - offsets
        turns = np.flatnonzero((np.diff(pages) != 0) | (np.diff(bases) != 0)) + 1
        starts = np.concatenate([[0], turns])
        bits = np.bitwise_or.reduceat(np.int64(1) << offsets, starts)
        for page, base, mask in zip(pages[starts].tolist(), bases[starts].tolist(), bits.tolist(), strict=True):
            if self._bases[page] == base:
                self._known[page] |= mask
            else:
                self._bases[page], self._known[page] = base, mask

    def copy(self, source: Sequence[int], target: Sequence[int]) -> None:
        """Slots of which each took over what the other holds; all were read first."""
        pages, offsets = np.divmod(np.array(source, dtype=np.int64), self._size)
        known = (self._known[pages] >> offsets & 1).astype(np.bool_)
        positions, slots = self._bases[pages] + offsets, np.array(target, dtype=np.int64)
        into, places = np.divmod(slots[~known], self._size)
        np.bitwise_and.at(self._known, into, ~(np.int64(1) << places))
        if known.any():
            self.write(slots[known], positions[known])

    def saved(self, pages: Sequence[int]) -> Ints:
        """What is known of these pages, [2, pages], for `restore`."""
        places = list(pages)
        return np.stack([self._bases[places], self._known[places]])

    def restore(self, pages: Sequence[int], saved: Ints) -> None:
        """These pages hold what those held of which this was saved."""
        self._bases[list(pages)], self._known[list(pages)] = saved

    def standing(self, pages: Ints, live: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """Of each page its base, and whether all its live slots (bit masks) stand at base + offset."""
        return self._bases[pages], (live & ~self._known[pages]) == 0
