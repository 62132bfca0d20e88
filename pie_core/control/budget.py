"""What all inferlets and exports of one user hold of one model together, and may hold.

A page that several of them share is one page. It counts from its allocation until nobody holds it, wherever its
contents are meanwhile: in the pool, in host memory, or still to come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pie_core.errors import BusyError, ResourceError
from pie_core.resource import Resource


class Budget:
    """Of one user and model. `most`: by kind; what is not named has no bound."""

    def __init__(self, user: str) -> None:
        self.most: Mapping[type[Resource], int] = {}
        self.held: Counter[type[Resource]] = Counter()
        self._user = user

    def check(self, kind: type[Resource], count: int, own: int) -> None:
        """Raise if `count` more would be too many; the inferlet that asks holds `own`.

        `BusyError`: others of the user hold what it lacks. `ResourceError`: not even alone could it have so many.
        """
        most, held = self.most.get(kind), self.held[kind]
        if most is None or held + count <= most:
            return
        what = (
            f"{count} {kind.kind}s asked for; user {self._user!r} holds {held} in all inferlets and exports, of {most} "
            f"allowed (quota `{kind.kind}s`)"
        )
        if own + count > most:
            raise ResourceError(f"{what}, and this inferlet alone would hold {own + count}; free some first")
        raise BusyError(f"{what}; try again when others of the user's inferlets have ended, or release exports")

    def charge(self, kind: type[Resource], records: Sequence[Resource]) -> None:
        """Fresh ones are held from now on."""
        self.held[kind] += len(records)
        for record in records:
            record.budget = self

    def release(self, record: Resource) -> None:
        """Nobody holds it any more."""
        self.held[type(record)] -= 1
