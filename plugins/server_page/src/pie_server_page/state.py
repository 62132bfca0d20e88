"""What runs, who holds what and what was done since the last time, read from the books when a page asks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pie_core.control.holdings import Holding, holdings
from pie_core.control.pool import Pool
from pie_core.loaded import LoadedModel
from pie_core.resource import HostResource
from pie_core.version import __version__
from pie_server_page.spans import Span

FREE, IN_USE, EXPORTED, OTHERS = -1, -2, -3, -4

Run = tuple[int, int, int]
"""Neighbours that are alike: how many, of whom, with how many holders; see `PoolState`."""


class InferletState(msgspec.Struct, frozen=True):
    """One that runs or waits in line. held: resources by kind; unbound: those of them that wait for room, or are in
    host memory. commands: enqueued and not done."""

    id: str
    parent: str | None
    program: str
    status: str
    seconds: float
    held: Mapping[str, int]
    unbound: Mapping[str, int]
    queues: int
    commands: int


class PoolState(msgspec.Struct, frozen=True):
    """A pool as it lies. runs: `[count, owner, holders]` for neighbours that are alike, from index 0 on.

    owner is a place in `owners` (ids of inferlets; of several holders the oldest), or -1: free, -2: held by nobody, but
    a command still uses it, -3: held by exports only, -4: held by another user's inferlets or exports. holders counts
    inferlets and exports: more than one share it. host: it takes no room on the device; its runs are left out.
    """

    kind: str
    capacity: int
    free: int
    draining: int
    wanted: int  # more than will come back by themselves
    host: bool
    owners: Sequence[str]
    runs: Sequence[Run]


class CallState(msgspec.Struct, frozen=True):
    """Totals of a kind of command since the start of the server; see `/metrics`."""

    call: str
    trait: str
    batches: int
    commands: int
    weight: int
    waited_s: float


class ModelState(msgspec.Struct, frozen=True):
    """tokens: run through the model since the start; those of a command that decodes count when it ends. stepping:
    commands that run in steps now."""

    name: str
    device: str
    waves: int
    busy_s: float
    tokens: int
    stepping: int
    pools: Sequence[PoolState]
    calls: Sequence[CallState]


class Books(msgspec.Struct, frozen=True):
    """What the server had in its books at a `time`, in seconds on its clock."""

    time: float
    inferlets: Sequence[InferletState]
    models: Sequence[ModelState]


class State(msgspec.Struct, frozen=True):
    """The answer of `/page/state`. spans: what has ended since the one asked for; last: what to ask for next time."""

    server: str
    now: float
    books: Books
    spans: Sequence[Span]
    last: int


def read_state(books: Books, spans: Sequence[Span], since: int) -> State:
    """What has changed goes with the books, which may be older."""
    return State(__version__, time.monotonic(), books, spans, spans[-1].number if spans else since)


def read_books(
    facts: Sequence[Mapping[str, Any]],
    models: Mapping[str, LoadedModel],
    stepping: Mapping[str, int],
    sees: str | None,
) -> Books:
    """What may be seen: what is of the user `sees`, or all (None), the counters of calls then, too.

    facts: of the inferlets that may be seen, see `Inferlet.facts`. stepping: commands that run in steps, by model.
    """
    inferlets = [_inferlet(each, models) for each in facts]
    return Books(time.monotonic(), inferlets, [_model(model, stepping[name], sees) for name, model in models.items()])


def _inferlet(facts: Mapping[str, Any], models: Mapping[str, LoadedModel]) -> InferletState:
    spaces = [space for model in models.values() if (space := model.layer.spaces.get(facts["id"])) is not None]
    queues = [queue for space in spaces for queue in space.queues.values()]
    named = {name: facts[name] for name in ("id", "parent", "program", "status", "seconds", "held", "unbound")}
    return InferletState(**named, queues=len(queues), commands=sum(len(queue.outstanding) for queue in queues))


def _model(model: LoadedModel, stepping: int, sees: str | None) -> ModelState:
    statistics = model.layer.statistics
    traits = {call: trait.name for trait in model.traits.values() for call in trait.signatures}
    calls = [
        CallState(name, traits.get(name, ""), c.batches, c.commands, c.weight, c.waited_s)
        for name, c in statistics.calls.items()
    ]
    passes = [name for name, call in model.realization.calls.items() if _runs_tokens(call)]
    tokens = sum(call.weight for call in calls if call.call in passes)
    pools = [_pool(model, pool, sees) for pool in model.layer.pools.values()]
    told = calls if sees is None else []
    device = model.backend.device
    return ModelState(model.info.name, device, statistics.waves, statistics.busy_s, tokens, stepping, pools, told)


def _runs_tokens(call: type[Any]) -> bool:
    """A pass, or many: one launch costs about the same whatever its size, or it goes on in steps."""
    return bool(getattr(call, "heavy", False) or getattr(call, "stepwise", False))


def _pool(model: LoadedModel, pool: Pool, sees: str | None) -> PoolState:
    host = issubclass(pool.kind, HostResource)
    owners: dict[str, int] = {}
    runs = [] if host else runs_of(pool, holdings(model.layer, pool.kind), sees, owners)
    return PoolState(pool.kind.kind, pool.capacity, pool.free, pool.draining, pool.wanted, host, list(owners), runs)


def runs_of(pool: Pool, held: Mapping[int, Holding], sees: str | None, owners: dict[str, int]) -> list[Run]:
    """The runs of a pool; fills in the owners. Takes time in proportion to what is not free."""
    cells: dict[int, Holding | None] = dict(held)
    if pool.free + len(held) < pool.capacity:
        cells |= dict.fromkeys(set(range(pool.capacity)) - held.keys() - set(pool.free_indices))
    runs: list[Run] = []
    start, end = 0, 0  # of the neighbours that are alike so far
    last: Holding | None = None
    for index in sorted(cells):
        holding = cells[index]
        if index != end or holding is not last:  # what one inferlet holds alike is one object
            _append(runs, end - start, last, sees, owners)
            if index != end:
                runs.append((index - end, FREE, 0))
            start, last = index, holding
        end = index + 1
    _append(runs, end - start, last, sees, owners)
    return [*runs, (pool.capacity - end, FREE, 0)] if end < pool.capacity else runs


def _append(runs: list[Run], count: int, holding: Holding | None, sees: str | None, owners: dict[str, int]) -> None:
    if count == 0:
        return
    owner, holders = _cell(holding, sees, owners)
    if runs and runs[-1][1:] == (owner, holders):
        count += runs.pop()[0]
    runs.append((count, owner, holders))


def _cell(holding: Holding | None, sees: str | None, owners: dict[str, int]) -> tuple[int, int]:
    if holding is None:
        return IN_USE, 0
    if sees is not None and holding.user != sees:
        return OTHERS, holding.holders
    if holding.owner is None:
        return EXPORTED, holding.holders
    return owners.setdefault(holding.owner, len(owners)), holding.holders
