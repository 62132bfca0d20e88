"""What each token of a `decode` with a mask sees."""

from __future__ import annotations

from pie_core import Mask
from pie_traits_decode.steps import Decode


class View:
    """Rows of the mask as `forward` takes them: it counts the tokens that have been run among those of their pages.

    pages: how many the steps look at; those of `ikv` come first.
    """

    def __init__(self, command: Decode, pages: int) -> None:
        assert command.mask is not None
        self._mask = command.mask
        self._held = [*command.held, *[0] * (pages - len(command.held))]
        self._columns = list(range(sum(held.bit_count() for held in self._held)))  # of the mask, as pages hold them
        self._first = len(self._columns)

    def of(self, number: int) -> tuple[Mask, tuple[int, ...]]:
        """What the token that is run as `number` sees; for each page, the bit mask of its used slots."""
        width = self._mask.cols
        row = self._mask.data[number * width : (number + 1) * width]
        seen = bytes([row[column] for column in (*self._columns, self._first + number)])
        return Mask(1, len(seen), seen), tuple(self._held)

    def add(self, number: int, place: int, slot: int) -> None:
        """It was run, and is held by the page at `place` now."""
        before = sum(held.bit_count() for held in self._held[:place])
        before += (self._held[place] & ((1 << slot) - 1)).bit_count()
        self._columns.insert(before, self._first + number)
        self._held[place] |= 1 << slot
