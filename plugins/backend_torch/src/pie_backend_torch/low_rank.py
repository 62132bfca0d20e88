"""Linear layers with LoRA terms: the weight's product once for all rows, then each adapter's terms to its own rows.

A row's result depends on its own adapter alone: what goes through none gets the very bits of a model without adapters,
and on a CPU in fp32 the terms are packed products too, whose rows do not depend on their neighbours (see `linear`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from pie_backend_torch.linear import Linear, LinearMaker, PlainLinear, can_pack
from pie_backend_torch.packing import RowwiseActivation
from pie_backend_torch.rows import pad_rows
from pie_backend_torch.selection import Selection

LANE = 16  # ranks are filled up with zeros to a multiple of this, what vector units compute at once

Terms = Mapping[str, tuple[Tensor, Tensor]]
"""By adapter: down [rank, in] and up [out, rank], the scale in it."""


class LowRank(Protocol):
    """The terms of one layer, of every adapter that has some there."""

    def __call__(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """For x [rows, in]: rows [n] and what is to be added to them [n, out]; each row at most once."""


class Segments:
    """Adapter by adapter, over packed terms: for a CPU."""

    def __init__(self, terms: Terms, selection: Selection, maker: LinearMaker) -> None:
        self._pairs = {name: (maker.make(down), maker.make(up)) for name, (down, up) in terms.items()}
        self._selection = selection

    def __call__(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for part in self._selection.parts:
            pair = self._pairs.get(part.adapter)
            if pair is not None:
                down, up = pair
                yield part.rows, up(down(x.index_select(0, part.padded)))[: len(part.rows)]


class Blocked:
    """All adapters at once, in blocks of rows: as many launches for many adapters as for one. For a GPU."""

    def __init__(self, terms: Terms, selection: Selection) -> None:
        down, up = next(iter(terms.values()))
        rank = max(pair[0].shape[0] for pair in terms.values())
        count = len(selection.names)
        self._down = down.new_zeros(count, down.shape[1], rank)
        self._up = up.new_zeros(count, rank, up.shape[0])
        for name, (down, up) in terms.items():
            place = selection.names.index(name)
            self._down[place, :, : down.shape[0]] = down.t()
            self._up[place, : up.shape[1]] = up.t()
        self._selection = selection

    def __call__(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        blocks = self._selection.blocks
        rows = x.index_select(0, blocks.gathered).view(len(blocks.adapters), -1, x.shape[1])
        low = torch.bmm(rows, self._down.index_select(0, blocks.adapters))
        high = torch.bmm(low, self._up.index_select(0, blocks.adapters))
        yield blocks.rows, high.view(-1, high.shape[2]).index_select(0, blocks.real)


class AdaptedLinear:
    """A `Linear` with terms."""

    def __init__(self, base: Linear, low_rank: LowRank, selection: Selection) -> None:
        self._base = base
        self._low_rank = low_rank
        self._selection = selection
        self._silu = RowwiseActivation(nn.SiLU())

    def __call__(self, x: Tensor) -> Tensor:
        return self._plus(self._base(x), x)

    def silu(self, x: Tensor) -> Tensor:
        if isinstance(self._base, PlainLinear):  # its activation is a launch of its own
            return functional.silu(self(x))
        out = self._base.silu(x)
        if self._selection:  # the base ran with its activation, so adapted rows need its bare product once more
            for rows, delta in self._low_rank(x):
                bare = self._base(pad_rows(x.index_select(0, rows)))[: len(rows)]
                out.index_copy_(0, rows, self._silu(bare + delta))
        return out

    def mul(self, x: Tensor, other: Tensor) -> Tensor:
        out = self._base.mul(x, other)
        if self._selection:
            for rows, delta in self._low_rank(x):
                out.index_add_(0, rows, delta * other.index_select(0, rows))
        return out

    def add(self, x: Tensor, other: Tensor) -> Tensor:
        return self._plus(self._base.add(x, other), x)

    def _plus(self, out: Tensor, x: Tensor) -> Tensor:
        if self._selection:
            for rows, delta in self._low_rank(x):
                out.index_add_(0, rows, delta)
        return out


class AdaptedModule(nn.Module):
    """A linear module, of transformers or packed, with terms; x [1, rows, in]."""

    def __init__(self, base: nn.Module, low_rank: LowRank, selection: Selection) -> None:
        super().__init__()
        self._base = base
        self._low_rank = low_rank
        self._selection = selection

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self._base(x)
        if self._selection:
            flat = out.view(-1, out.shape[-1])
            for rows, delta in self._low_rank(x.reshape(-1, x.shape[-1])):
                flat.index_add_(0, rows, delta)
        return out


def make_low_rank(terms: Terms, selection: Selection, maker: LinearMaker) -> LowRank:
    """The best `LowRank` for where the terms lie."""
    if all(can_pack(tensor) for pair in terms.values() for tensor in pair):
        return Segments({name: _filled(*pair) for name, pair in terms.items()}, selection, maker)
    return Blocked(terms, selection)


def _filled(down: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    missing = -down.shape[0] % LANE
    return functional.pad(down, (0, 0, 0, missing)), functional.pad(up, (0, missing))
