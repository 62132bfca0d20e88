"""The control layer's books, recomputed by walking everything that holds or uses a resource."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pie_core.control.layer import ControlLayer
from pie_core.control.pool import Pool
from pie_core.resource import UNBOUND, Resource
from pie_core.testing.simulation.ledger import Ledger


@dataclass(eq=False)
class Line:
    """An allocation that had to wait."""

    owner: str
    records: list[Resource]

    @property
    def live(self) -> list[Resource]:
        """Those that somebody still wants."""
        return [record for record in self.records if record.holders or record.uses]

    @property
    def waits(self) -> bool:
        """Whether it is still to be served."""
        return any(record.index == UNBOUND for record in self.live)


class Books:
    """Every physical index is in one place, every count is what is really there, and nobody overtakes."""

    def __init__(self, layer: ControlLayer, ledger: Ledger, complain: Callable[[str], None], in_turn: bool) -> None:
        """in_turn: allocations that wait are served in the order in which they were asked for."""
        self._layer = layer
        self._ledger = ledger
        self._complain = complain
        self._in_turn = in_turn
        self._moved: list[Line] = []  # in this call, because their inferlet ended
        self._lines: dict[type[Resource], list[Line]] = {kind: [] for kind in layer.pools}

    def begin(self) -> None:
        """A call is made; inferlets may have to go for it."""
        self._moved.clear()

    def wait(self, owner: str, kind: type[Resource], records: list[Resource]) -> None:
        """An inferlet was given records; without an index they wait for room, behind those that waited before."""
        if any(record.index == UNBOUND for record in records):
            lines = self._lines[kind]
            place = next((place for place, line in enumerate(lines) if line in self._moved), len(lines))
            lines.insert(place, Line(owner, records))  # it asked before others had to go for it
        elif self._in_turn and records and any(line.waits for line in self._lines[kind]):
            self._complain(f"an allocation of {kind.kind}s was served before one that waits")

    def ended(self, owner: str) -> None:
        """An inferlet ended: of its waiting allocations what others hold goes on waiting, behind the rest."""
        for lines in self._lines.values():
            for line in [line for line in lines if line.owner == owner]:
                lines.remove(line)
                lines.append(line)
                self._moved.append(line)
                line.records = line.live

    def check(self) -> None:
        """Compare. Takes some tens of microseconds."""
        holders, uses, live = self._walk()
        by_kind: dict[type[Resource], list[Resource]] = {kind: [] for kind in self._layer.pools}
        for key, record in live.items():
            by_kind[type(record)].append(record)
            if record.holders != holders[key]:
                self._complain(f"a {record.kind} has {holders[key]} holders, its count says {record.holders}")
            if record.uses != uses[key]:
                self._complain(f"a {record.kind} has {uses[key]} uses, its count says {record.uses}")
        for kind, pool in self._layer.pools.items():
            self._check_pool(pool, by_kind[kind])
            if self._in_turn:
                self._check_line(pool)
        for key, culprit in self._layer._poison.by_id.items():
            if key not in live:
                self._complain(
                    f"a {culprit.resource.kind} that {culprit.call} left unwritten is remembered, though it is gone"
                )

    def _walk(self) -> tuple[Counter[int], Counter[int], dict[int, Resource]]:
        layer = self._layer
        held = [r for space in layer.spaces.values() for table in space.tables.values() for r in table.values()]
        for exports in layer.memory._exports._by_user.values():
            for export in exports.values():
                held += export.pages
        used = [r for entry in self._ledger.open.values() for r in (*entry.submission.reads, *entry.submission.writes)]
        for pool in layer.pools.values():
            for allocation in pool._waiting:
                used += allocation.writes
        return Counter(map(id, held)), Counter(map(id, used)), {id(r): r for r in (*held, *used)}

    def _check_pool(self, pool: Pool, records: list[Resource]) -> None:
        kind = pool.kind.kind
        places = pool._free + [record.index for record in records if record.index != UNBOUND]
        if sorted(places) != list(range(pool.capacity)):
            self._complain(f"the {kind}s are not each in one place: free and bound are {sorted(places)}")
        draining = sum(record.holders == 0 for record in records)
        if pool.draining != draining:
            self._complain(f"{draining} {kind}s are draining, the pool counts {pool.draining}")
        promised = {id(record) for allocation in pool._waiting for record in allocation.writes}
        if any(record.index == UNBOUND and id(record) not in promised for record in records):
            self._complain(f"a {kind} is not bound, and nothing waits for it")

    def _check_line(self, pool: Pool) -> None:
        kind = pool.kind
        waiting = [line for line in self._lines[kind] if line.waits]
        if waiting:
            before = self._lines[kind].index(waiting[0])
            if any(line.live and not line.waits for line in self._lines[kind][before:]):
                self._complain(f"an allocation of {kind.kind}s was served before one that waited longer")
            if len(waiting[0].records) <= pool.free:
                self._complain(
                    f"an allocation of {len(waiting[0].records)} {kind.kind}s waits, though {pool.free} are free"
                )
        self._lines[kind] = waiting
