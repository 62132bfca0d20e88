"""The control layer's books, recomputed by walking everything that holds or uses a resource."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from pie_core.control.layer import ControlLayer
from pie_core.control.pool import Pool
from pie_core.resource import UNBOUND, KvPage, Resource
from pie_core.testing.simulation.ledger import Ledger
from pie_core.testing.simulation.lines import Lines


class Books:
    """Every physical index is in one place, every count is what is really there, and nobody overtakes."""

    def __init__(
        self, layer: ControlLayer, ledger: Ledger, complain: Callable[[str], None], oldest_first: bool
    ) -> None:
        """oldest_first: allocations that wait are served by the arrival of their inferlets, not of the requests."""
        self._layer = layer
        self._ledger = ledger
        self._complain = complain
        self.lines = {kind: Lines(pool, oldest_first, complain) for kind, pool in layer.pools.items()}

    def begin(self) -> None:
        """A call is about to be made: who was served before it was served before it."""
        for lines in self.lines.values():
            if lines.waiting:
                lines.check()

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
            if isinstance(record, KvPage):
                self._ledger.steps.check_page(record)
        for kind, pool in self._layer.pools.items():
            self._check_pool(pool, by_kind[kind])
            self.lines[kind].check()
        self._check_budgets(Counter((id(r.budget), type(r)) for key, r in live.items() if holders[key]))
        open_ = {id(r) for e in self._ledger.open.values() for r in (*e.submission.reads, *e.submission.writes)}
        self._ledger.moves.check(self._layer.memory.swapping, open_)
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
        used += self._ledger.moves.uses()
        for transfer in layer.memory.swapping.transfers:
            used += transfer.writes
        return Counter(map(id, held)), Counter(map(id, used)), {id(r): r for r in (*held, *used)}

    def _check_budgets(self, held: Counter[tuple[int, type[Resource]]]) -> None:
        """Each record that somebody holds is charged to its user, once. held: by budget and kind."""
        for user, budget in self._layer.budgets.items():
            for kind in self._layer.pools:
                if budget.held[kind] != held[id(budget), kind]:
                    told = f"{held[id(budget), kind]} {kind.kind}s, {budget.held[kind]} are charged"
                    self._complain(f"the inferlets and exports of {user!r} hold {told}")

    def _check_pool(self, pool: Pool, records: list[Resource]) -> None:
        kind = pool.kind.kind
        places = pool._free + [record.index for record in records if record.index != UNBOUND]
        if sorted(places) != list(range(pool.capacity)):
            self._complain(f"the {kind}s are not each in one place: free and bound are {sorted(places)}")
        draining = sum(record.holders == 0 for record in records)
        if pool.draining != draining:
            self._complain(f"{draining} {kind}s are draining, the pool counts {pool.draining}")
        promised = Counter(id(record) for allocation in pool._waiting for record in allocation.writes)
        for record in records:
            if record.index == UNBOUND and promised[id(record)] != 1 and id(record) not in self._ledger.moves.away:
                self._complain(f"a {kind} is not bound, and {promised[id(record)]} allocations wait for it")
