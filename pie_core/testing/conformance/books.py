"""The books of a control layer, for comparing and for auditing: what a refused call must leave as it was, and the
account of every physical index, which finds double frees and leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from pie_core.control.layer import ControlLayer
from pie_core.control.pool import Pool
from pie_core.resource import UNBOUND, Resource


def snapshot(layer: ControlLayer) -> dict[str, Any]:
    """All that a refused call must leave as it was, comparable by `==`."""
    spaces = layer.spaces.values()
    return {
        "pools": {kind.kind: (pool.free, pool.draining, pool.wanted) for kind, pool in layer.pools.items()},
        "resources": {
            (space.owner, kind.kind, handle): record_state(record)
            for space in spaces
            for kind, table in space.tables.items()
            for handle, record in table.items()
        },
        "queues": {(space.owner, handle): len(q.outstanding) for space in spaces for handle, q in space.queues.items()},
        "exports": {(space.user, export.name): export.pages for space in spaces for export, _ in space.exports()},
        "waves": layer.statistics.waves,
    }


def record_state(record: Resource) -> dict[str, Any]:
    """The fields of a resource's record, those of its own kind included."""
    names = [name for kind in type(record).__mro__ for name in kind.__dict__.get("__slots__", ())]
    fields = {name: getattr(record, name) for name in names}
    return fields | {"readers": len(record.readers), "writer": id(record.writer) if record.writer else None}


def discrepancies(layer: ControlLayer) -> list[str]:
    """What does not add up: every index of a pool is either free, once, or bound to exactly one record,
    and users are charged with what they hold."""
    return [line for pool in layer.pools.values() for line in (*_audit(layer, pool), *_audit_budgets(layer, pool.kind))]


def leaks(layer: ControlLayer) -> list[str]:
    """What is not back, once every inferlet has ended and every export was released."""
    found = discrepancies(layer)
    for kind, pool in layer.pools.items():
        if pool.free != pool.capacity or pool.draining or pool.wanted:
            found.append(
                f"{kind.kind}s: {pool.free} of {pool.capacity} are free, {pool.draining} draining, {pool.wanted} wanted"
            )
    return found


def _audit(layer: ControlLayer, pool: Pool) -> list[str]:
    free = Counter(pool.free_indices)
    bound = Counter(record.index for record in _held(layer, pool.kind) if record.index != UNBOUND)
    name, found = pool.kind.kind, []
    for index, times in (free + bound).items():
        if not 0 <= index < pool.capacity:
            found.append(f"{name} {index} is outside the pool of {pool.capacity}")
        elif free[index] > 1:
            found.append(f"{name} {index} is {free[index]} times in the free list: it was freed twice")
        elif bound[index] > 1:
            found.append(f"{name} {index} is bound to {bound[index]} records at once")
        elif times > 1:
            found.append(f"{name} {index} is free and held at once")
    missing = pool.capacity - pool.draining - len(free + bound)
    if missing > 0:
        found.append(f"{missing} {name}s of {pool.capacity} are neither free nor held: they leaked")
    return found


def _audit_budgets(layer: ControlLayer, kind: type[Resource]) -> list[str]:
    """A user is charged with each record that the user's inferlets and exports hold, once."""
    held = Counter(id(record.budget) for record in _held(layer, kind))
    return [
        f"user {user!r} is charged with {budget.held[kind]} {kind.kind}s, and holds {held[id(budget)]}"
        for user, budget in layer.budgets.items()
        if budget.held[kind] != held[id(budget)]
    ]


def _held(layer: ControlLayer, kind: type[Resource]) -> Iterable[Resource]:
    records = {id(record): record for space in layer.spaces.values() for record in space.tables[kind].values()}
    for user in layer.budgets:
        for export, _ in layer.memory.exports_of(user):
            records |= {id(page): page for page in export.pages if isinstance(page, kind)}
    return records.values()
