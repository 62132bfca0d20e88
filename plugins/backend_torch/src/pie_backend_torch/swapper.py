"""Pages and Embeds in host memory: gathered and scattered by physical index. On a GPU through pinned memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pie_backend_torch.pool import KvPool
from pie_core.resource import Embed, KvPage, Resource


class TorchSwapper:
    """See `Swapper`. A copy is one host tensor [resources, ...] for each tensor of the pool.

    Copies to and from pinned memory are ordered on the device's stream, as everything else is: nobody on the host reads
    them, so nobody waits for them.
    """

    def __init__(self, pool: KvPool, embeds: Tensor) -> None:
        self._pools: dict[type[Resource], list[Tensor]] = {
            KvPage: [_by_page(tensor, pool.pages) for tensor in (*pool.keys, *pool.values, pool.positions)],
            Embed: [embeds],
        }

    @property
    def bytes_of(self) -> Mapping[type[Resource], int]:
        return {kind: sum(one[0].nbytes for one in tensors) for kind, tensors in self._pools.items()}

    @torch.inference_mode()
    def swap_out(self, kind: type[Resource], indices: Sequence[int]) -> list[Tensor]:
        return [_to_host(tensor[_places(indices, tensor)]) for tensor in self._pools[kind]]

    @torch.inference_mode()
    def swap_in(self, kind: type[Resource], copy: object, indices: Sequence[int | None]) -> None:
        assert isinstance(copy, list)
        wanted = [place for place, index in enumerate(indices) if index is not None]
        targets = [index for index in indices if index is not None]
        for tensor, held in zip(self._pools[kind], copy, strict=True):
            moved = held.to(tensor.device, non_blocking=True)
            if len(wanted) < len(indices):
                moved = moved[_places(wanted, moved)]
            tensor.index_copy_(0, _places(targets, tensor), moved)


def _by_page(tensor: Tensor, pages: int) -> Tensor:
    """[slots, ...] as [pages, slots of a page, ...], the same memory."""
    return tensor.view(pages, -1, *tensor.shape[1:])


def _places(indices: Sequence[int], like: Tensor) -> Tensor:
    return torch.tensor(indices, dtype=torch.int64, device=like.device)


def _to_host(tensor: Tensor) -> Tensor:
    if tensor.device.type == "cpu":
        return tensor
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)
