"""Which row of the pass each decode has: it keeps it, so that its next token can wait there on the device."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Rows:
    """Rows by decode, the lowest free one for each that comes."""

    def __init__(self) -> None:
        self._taken: dict[Any, int] = {}

    def __len__(self) -> int:
        """One more than the highest row that is taken."""
        return max(self._taken.values(), default=-1) + 1

    def of(self, one: Any) -> int | None:
        """Its row, if it has one."""
        return self._taken.get(one)

    def row(self, one: Any) -> int:
        """The row of one that has one."""
        return self._taken[one]

    def take(self, one: Any) -> int:
        """A row for one that has none."""
        taken = set(self._taken.values())
        row = next(row for row in range(len(taken) + 1) if row not in taken)
        self._taken[one] = row
        return row

    def keep(self, ones: Iterable[Any]) -> None:
        """All others have ended."""
        kept = set(ones)
        self._taken = {one: row for one, row in self._taken.items() if one in kept}
