"""Trait `allocate`: copying tokens between pages. (The rest of the trait is the control layer's books.)"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pie_traits_text.allocate import CopyKvpage

from pie_backend_torch.backend import TorchBackend


class AllocateHandler:
    """Copies whole batches by one gather and one scatter per layer."""

    def __init__(self, backend: TorchBackend) -> None:
        self._backend = backend

    @torch.inference_mode()
    def copy_kvpage(self, batch: Sequence[CopyKvpage]) -> None:
        pool = self._backend.pool
        size = pool.page_size
        source: list[int] = []
        target: list[int] = []
        for command in batch:
            for page, to, length in zip(command.src, command.dst, command.lengths, strict=True):
                source += range(first := page.index * size + command.src_start, first + length)
                target += range(first := to.index * size + command.dst_start, first + length)
        if source:
            pool.copy(source, target)
