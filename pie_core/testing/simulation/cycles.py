"""Who waits for room in a way that only one of them can end, from what spaces hold and what commands are open."""

from __future__ import annotations

from pie_core.control.layer import ControlLayer
from pie_core.control.space import Space
from pie_core.resource import UNBOUND, Resource
from pie_core.testing.simulation.books import Books
from pie_core.testing.simulation.ledger import Ledger

_LOOKS_S = 0.3  # three looks at who waits


class Cycles:
    """longest_s: how long a cycle may last."""

    def __init__(self, layer: ControlLayer, ledger: Ledger, books: Books, cycle_s: float) -> None:
        self.longest_s = cycle_s + _LOOKS_S
        self._layer = layer
        self._ledger = ledger
        self._books = books

    def standstill(self) -> bool:
        """Nothing is on the device, or could go there."""
        busy = self._ledger.in_flight or any(entry.is_running for entry in self._ledger.open.values())
        return not busy and next(self._ledger.ready(), None) is None

    def waiting(self) -> set[str]:
        """Owners with commands that are not done."""
        return {entry.owner for entry in self._ledger.open.values() if not entry.submission.done}

    def find(self) -> type[Resource] | None:
        """A kind for which somebody waits and whose holders wait all themselves, at a standstill."""
        if not self.standstill():
            return None
        waiting = self.waiting()
        for kind, lines in self._books.lines.items():
            holders = {space.owner for space in self._holders(kind)}
            if lines.waiting and (holders or self._pinning(kind)) and holders <= waiting:
                return kind
        return None

    def involved(self) -> list[Space]:
        """Those who hold something that is waited for."""
        kinds = [kind for kind, lines in self._books.lines.items() if lines.waiting]
        return [space for kind in kinds for space in self._holders(kind)]

    def movable(self, host_bytes: int) -> str | None:
        """Who could lend something to who is first in line, at a standstill: it waits, and holds it alone."""
        waiting = self.waiting()
        for kind, lines in self._books.lines.items():
            for space in self._holders(kind) if lines.waiting else []:
                alone = self.held_alone(kind, space)
                stands = space.owner in waiting and space.owner != lines.waiting[0].owner
                stands = stands and not self.has_just_returned(space.owner)
                if alone and stands and self._ledger.moves.room_for(kind, alone, host_bytes):
                    return space.owner
        return None

    def held_alone(self, kind: type[Resource], space: Space) -> int:
        """How many physical ones nobody else holds or has commands for, and are not on their way.

        Those it has freed are among them, if commands of its own still are to touch them.
        """
        users: dict[Resource, set[str]] = {}
        for entry in self._ledger.open.values():
            if not entry.submission.done:
                for record in (*entry.reads, *entry.writes):
                    users.setdefault(record, set()).add(entry.owner)
        moving = {r for t in self._layer.memory.swapping.transfers for r in (*t.reads, *t.writes)}
        moving |= set(self._ledger.moves.uses())
        found = {record for record in space.tables[kind].values() if record.holders == 1}
        found |= {record for record in users if type(record) is kind and not record.holders}
        alone = [record for record in found - moving if users.get(record, {space.owner}) == {space.owner}]
        return sum(record.index != UNBOUND and id(record) not in self._ledger.moves.away for record in alone)

    def has_just_returned(self, owner: str) -> bool:
        """Whether all of the commands for which it was last brought back still are to be launched."""
        back = self._ledger.back.get(owner, [])
        return bool(back) and all(entry.batch is None and not entry.submission.done for entry in back)

    def _holders(self, kind: type[Resource]) -> list[Space]:
        """Who holds physical ones, or has freed some that commands of its own still are to touch."""
        pinning = self._pinning(kind)
        return [space for space in self._layer.spaces.values() if space.bound(kind) or space.owner in pinning]

    def _pinning(self, kind: type[Resource]) -> set[str]:
        """Owners of commands that are to touch physical ones."""
        return {
            entry.owner
            for entry in self._ledger.open.values()
            for record in (*entry.reads, *entry.writes)
            if type(record) is kind and record.index != UNBOUND
        }
