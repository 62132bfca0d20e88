"""Pages and Embeds in host memory: gathered and scattered by physical index. On a GPU through pinned memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pie_backend_torch import upload
from pie_backend_torch.pool import KvPool
from pie_backend_torch.step import Ints
from pie_core.resource import Embed, KvPage, Resource


@dataclass(frozen=True, slots=True)
class _Copy:
    """tensors: of the host, [resources, ...], one for each tensor of the pool. standing: see `Ledger.saved`."""

    tensors: list[Tensor]
    standing: Ints | None


class TorchSwapper:
    """See `Swapper`.

    Copies to and from pinned memory are ordered on the device's stream, as everything else is: nobody on the host reads
    them, so nobody waits for them. torch rounds pinned memory up to powers of two and keeps it for the next copy.
    """

    def __init__(self, pool: KvPool, embeds: Sequence[Tensor]) -> None:
        self._pool = pool
        self._pools: dict[type[Resource], Sequence[Tensor]] = {
            KvPage: [_by_page(tensor, pool.page_size) for tensor in pool.tensors],
            Embed: embeds,
        }

    @property
    def bytes_of(self) -> Mapping[type[Resource], int]:
        return {kind: sum(one[0].nbytes for one in tensors) for kind, tensors in self._pools.items()}

    @torch.inference_mode()
    def swap_out(self, kind: type[Resource], indices: Sequence[int]) -> _Copy:
        tensors = self._pools[kind]
        places = upload.indices(indices, tensors[0].device)
        ledger = self._pool.ledger if kind is KvPage else None
        standing = None if ledger is None else ledger.saved(indices)
        return _Copy([_to_host(tensor.index_select(0, places)) for tensor in tensors], standing)

    @torch.inference_mode()
    def swap_in(self, kind: type[Resource], copy: object, indices: Sequence[int | None]) -> None:
        assert isinstance(copy, _Copy)
        wanted = [place for place, index in enumerate(indices) if index is not None]
        targets = [index for index in indices if index is not None]
        tensors = self._pools[kind]
        kept, places = (upload.indices(some, tensors[0].device) for some in (wanted, targets))
        for tensor, held in zip(tensors, copy.tensors, strict=True):
            moved = held.to(tensor.device, non_blocking=True)
            if len(wanted) < len(indices):
                moved = moved.index_select(0, kept)
            tensor.index_copy_(0, places, moved)
        if kind is KvPage and self._pool.ledger is not None:
            nothing: Ints = np.zeros((2, len(indices)), dtype=np.int64)
            standing = nothing if copy.standing is None else copy.standing
            self._pool.ledger.restore(targets, standing[:, wanted])


def _by_page(tensor: Tensor, size: int) -> Tensor:
    """[slots, ...] as [pages, slots of a page, ...], the same memory."""
    return tensor.view(-1, size, *tensor.shape[1:])


def _to_host(tensor: Tensor) -> Tensor:
    if tensor.device.type == "cpu":
        return tensor
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)
