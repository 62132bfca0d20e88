"""The calls of a pass, divided by the kernels that can express them; what each part launches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from pie_backend_torch.attention import GroupedPlan
from pie_backend_torch.flash.calls import Call
from pie_backend_torch.flash.masks import MOST_BITS, Masks, too_many
from pie_backend_torch.flash.sharing import Shared, find_shared
from pie_backend_torch.flash.tables import Engine, Launch, Tables, Variant, prefix_tables, tables_of
from pie_backend_torch.kernels import Flavour
from pie_backend_torch.pool import KvPool
from pie_backend_torch.step import Ints, Step, ranges
from pie_backend_torch.upload import upload


@dataclass(frozen=True, slots=True)
class Divided:
    """Calls by where they go. Every call is in one of these; those of `shared` are the first of `singles`."""

    shared: list[Shared]
    singles: list[Call]  # one token, regular
    chunks: list[Call]  # more, regular
    masked: list[Call]
    rest: list[Call]  # torch's attention

    @property
    def calls(self) -> list[Call]:
        return [*self.singles, *self.chunks, *self.masked, *self.rest]


def divide(
    calls: Sequence[Call], window: int | None, size: int, tell: Callable[[str], None], all_rest: bool
) -> Divided:
    """Where calls go in a layer with this window. `tell` is given the reason why some go to torch."""
    if all_rest:
        return Divided([], [], [], [], list(calls))
    singles = [call for call in calls if call.count == 1 and call.fits(window)]
    chunks = [call for call in calls if call.count > 1 and call.fits(window)]
    masked = [call for call in calls if not call.fits(window)]
    rest: list[Call] = []
    if too_many(masked):
        tell(f"masks of more than {MOST_BITS} bits in a pass")
        masked, rest = [], masked
    shared: list[Shared] = []
    if window is None:
        shared, alone = find_shared(singles, size)
        singles = [*chain.from_iterable(group.calls for group in shared), *alone]
    return Divided(shared, singles, chunks, masked, rest)


class Part:
    """Runs the layers of one window. Rows are gathered in the order of `Divided.calls`, unless they lie so."""

    def __init__(
        self, divided: Divided, window: int | None, engine: Engine, step: Step, pool: KvPool, ordered: bool
    ) -> None:
        self._engine, device = engine, step.positions.device
        rows = _rows_of(divided.calls)
        in_order = bool((np.diff(rows) == 1).all())
        self._rows = None if in_order else upload(torch.from_numpy(rows), device)
        counts = [sum(call.count for call in some) for some in (divided.singles, divided.chunks, divided.masked)]
        self._ends = np.cumsum(counts).tolist()
        self._sharing = sum(len(group.calls) for group in divided.shared)
        size = pool.page_size
        if divided.shared:
            shared = divided.shared
            members = [len(group.calls) for group in shared]
            self._prefix = Lane(engine, prefix_tables([group.pages for group in shared], members, size))
        if divided.singles:
            skipped = [len(group.pages) for group in divided.shared for _ in group.calls]
            skipped += [0] * (len(divided.singles) - len(skipped))
            self._single = Lane(engine, tables_of(divided.singles, size, skipped))
        if divided.chunks:
            self._chunk = Lane(engine, tables_of(divided.chunks, size, [0] * len(divided.chunks)))
        if divided.masked:
            masks = Masks(divided.masked, size)
            masks.place(upload(torch.from_numpy(_rows_of(divided.masked)), device), step.positions, pool)
            self._masked = Lane(engine, masks.tables, masks.bits(window))
            self._blind = _blind(divided.masked, device)
        if divided.rest:
            self._rest = _placed(divided.rest, step, pool, ordered, self._rows, self._ends[2])

    def attend(
        self, variant: Variant, pool: KvPool, layer: int, query: Tensor, key: Tensor, value: Tensor, flavour: Flavour
    ) -> Tensor:
        """query [tokens, heads, width] -> the same."""
        asked = query if self._rows is None else query.index_select(0, self._rows)
        out = asked.new_empty(asked.shape[0], asked.shape[1], value.shape[2])
        single, chunk, masked = self._ends
        if single:
            self._run_singles(variant, pool, layer, asked[:single], out[:single])
        if chunk > single:
            self._chunk.run(variant, pool, layer, asked[single:chunk], out[single:chunk])
        if masked > chunk:
            self._masked.run(replace(variant, window=None), pool, layer, asked[chunk:masked], out[chunk:masked])
            if self._blind is not None:
                out[chunk:masked].masked_fill_(self._blind, 0.0)
        if len(asked) > masked:
            if self._rows is not None:
                key, value = (one.index_select(0, self._rows) for one in (key, value))
            out[masked:] = self._rest.attend(pool, layer, asked[masked:], key[masked:], value[masked:], flavour)
        return out if self._rows is None else torch.empty_like(out).index_copy_(0, self._rows, out)

    def _run_singles(self, variant: Variant, pool: KvPool, layer: int, query: Tensor, out: Tensor) -> None:
        weight = self._single.run(variant, pool, layer, query, out, weigh=self._sharing > 0)
        if self._sharing == 0:
            return
        assert weight is not None
        upto = self._sharing
        other = torch.empty_like(out[:upto])
        other_weight = self._prefix.run(variant, pool, layer, query[:upto], other, weigh=True)
        assert other_weight is not None
        self._engine.merge(out[:upto], weight[:upto], other, other_weight)


class Lane:
    """One launch of every layer."""

    def __init__(self, engine: Engine, tables: Tables, mask: Tensor | None = None) -> None:
        self._engine, self._tables, self._mask = engine, tables, mask
        self._launches: dict[Variant, Launch] = {}

    def run(
        self, variant: Variant, pool: KvPool, layer: int, query: Tensor, out: Tensor, weigh: bool = False
    ) -> Tensor | None:
        """See `Launch.run`."""
        launch = self._launches.get(variant)
        if launch is None:
            launch = self._launches[variant] = self._engine.plan(self._tables, variant, self._mask)
        keys, values = (
            one.view(-1, self._tables.size, *one.shape[1:]) for one in (pool.keys[layer], pool.values[layer])
        )
        return launch.run(query, keys, values, out, weigh)


def _rows_of(calls: Sequence[Call]) -> Ints:
    """Rows of the pass, call after call."""
    firsts: Ints = np.array([call.first for call in calls], dtype=np.int64)
    return ranges(firsts, np.array([call.count for call in calls], dtype=np.int64))


def _blind(calls: Sequence[Call], device: torch.device) -> Tensor | None:
    """[rows, 1, 1] those whose explicit masks show nothing; None: there are none."""
    blind = np.concatenate(
        [np.zeros(call.count, bool) if call.span.mask is None else ~call.span.mask.any(1) for call in calls]
    )
    return upload(torch.from_numpy(blind)[:, None, None], device) if blind.any() else None


def _placed(
    calls: Sequence[Call], step: Step, pool: KvPool, ordered: bool, rows: Tensor | None, begin: int
) -> GroupedPlan:
    """Torch's plan of some calls, the last of the gathered rows, as a pass of their own."""
    plan, device = GroupedPlan([call.span for call in calls], pool.page_size, ordered), step.positions.device
    block = upload(torch.from_numpy(np.concatenate(plan.arrays)), device)
    plan.receive(torch.split(block, [len(array) for array in plan.arrays]), device)
    positions, slots, orders = (
        one if one is None or rows is None else one.index_select(0, rows)
        for one in (step.positions, step.slots, step.orders)
    )
    assert positions is not None and slots is not None
    own = Step(len(positions) - begin, step.highest, positions[begin:], slots[begin:], plan, [])
    own.orders = None if orders is None else orders[begin:]
    plan.place(own, pool)
    return plan
