"""The pools: keys, values and positions of every token slot, and the Embed vectors. Allocated once, never grown.

A slot is `page * page_size + offset`. Nothing here knows which slots are live: that comes from the host with every
command, so stale slots need no reset and are never read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pie_backend_torch.ledger import Ledger
from pie_backend_torch.upload import indices


@dataclass(frozen=True)
class LayerShape:
    """What one attention layer keeps per token."""

    heads: int
    key_width: int
    value_width: int

    @property
    def width(self) -> int:
        """Numbers kept for one token."""
        return self.heads * (self.key_width + self.value_width)


class KvPool:
    """Keys and values of every layer, and the position each slot was written at.

    Whoever writes `positions` also tells the `ledger`, if there is one. (A pass's attention does that for its tokens.)
    """

    def __init__(
        self, layers: Sequence[LayerShape], pages: int, page_size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.pages = pages
        self.page_size = page_size
        self.dtype = dtype
        slots = (pages + 1) * page_size
        self.scratch_slot = pages * page_size  # of a page more, where rows of padding write
        self.keys = [lazy_zeros((slots, layer.heads, layer.key_width), dtype, device) for layer in layers]
        self.values = [lazy_zeros((slots, layer.heads, layer.value_width), dtype, device) for layer in layers]
        self.positions = lazy_zeros((slots,), torch.int64, device)
        self.orders: Tensor | None = None  # of models in which positions do not tell who sees whom; see `places`
        self.ledger: Ledger | None = None  # for attention that asks for it

    def keep_ledger(self) -> Ledger:
        """What the host knows of `positions`; nothing of those that were written before it was first asked for."""
        self.ledger = self.ledger or Ledger(self.pages + 1, self.page_size)
        return self.ledger

    def keep_orders(self) -> None:
        """From the first token on."""
        self.orders = lazy_zeros(tuple(self.positions.shape), torch.int64, self.positions.device)

    @property
    def tensors(self) -> list[Tensor]:
        """All that there is for each slot."""
        return [*self.keys, *self.values, self.positions, *([] if self.orders is None else [self.orders])]

    def write(self, layer: int, slots: Tensor, key: Tensor, value: Tensor) -> None:
        """Put keys and values of new tokens, [rows, heads, width], into `slots` [n]; rows from n on are padding."""
        count = slots.shape[0]
        self.keys[layer].index_copy_(0, slots, key[:count])
        self.values[layer].index_copy_(0, slots, value[:count])

    def copy(self, source: Sequence[int], target: Sequence[int]) -> None:
        """Copy whole slots, `source[i]` to `target[i]`: keys, values and positions. Overlaps read first."""
        slots = indices([source, target], self.positions.device)
        for tensor in self.tensors:
            tensor.index_copy_(0, slots[1], tensor.index_select(0, slots[0]))
        if self.ledger is not None:
            self.ledger.copy(source, target)


def lazy_zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros that take real memory only where they are written (calloc) when on a CPU."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    count = int(np.prod(shape)) * dtype.itemsize
    return torch.from_numpy(np.zeros(count, dtype=np.uint8)).view(dtype).view(shape)


def token_bytes(layers: Sequence[LayerShape], dtype: torch.dtype) -> int:
    """Bytes that one token slot takes in a pool of these layers."""
    return sum(layer.width for layer in layers) * dtype.itemsize + torch.int64.itemsize
