"""FlashInfer itself. Imported only where it is installed and the device is a GPU."""

from __future__ import annotations

from collections import deque
from typing import Any

import flashinfer
import numpy as np
import torch
from torch import Tensor

from pie_backend_torch.flash.tables import Tables, Variant
from pie_backend_torch.upload import upload

WORKSPACE = 128 << 20  # bytes; what FlashInfer advises for what split calls leave until they are merged
MOST_PLANS = 24  # that are kept; each has 8 MiB on the device and as many of the host's pinned memory


class FlashInfer:
    """See `tables.Engine`.

    A plan is written to pinned memory of its wrapper and copied from there when the device comes to it. So a wrapper is
    not planned anew before its last plan was copied: they take turns, and the host waits only if it is many ahead.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._workspace = torch.empty(WORKSPACE, dtype=torch.uint8, device=device)  # the device runs them in turn
        self._idle: deque[_Planned] = deque()
        self._busy: list[_Planned] = []

    def begin(self) -> None:
        self._idle.extend(self._busy)
        self._busy.clear()

    def plan(self, tables: Tables, variant: Variant, mask: Tensor | None) -> _Planned:
        planned = self._free()
        lengths = (tables.queries, tables.starts, tables.lasts)
        block = torch.from_numpy(np.concatenate(lengths).astype(np.int32)).pin_memory()
        queries, starts, lasts = torch.split(block, [len(one) for one in lengths])
        planned.wrapper.plan(
            queries,
            starts,
            upload(torch.from_numpy(tables.pages.astype(np.int32)), self._device),
            lasts,
            variant.heads,
            variant.kv_heads,
            variant.width,
            tables.size,
            packed_custom_mask=mask,
            causal=tables.causal,
            sm_scale=variant.scale,
            window_left=-1 if variant.window is None else variant.window - 1,
            logits_soft_cap=variant.softcap,
            q_data_type=variant.dtype,
            kv_data_type=variant.dtype,
        )
        planned.event.record()
        self._busy.append(planned)
        return planned

    def _free(self) -> _Planned:
        if self._idle and (self._idle[0].copied() or len(self._idle) + len(self._busy) >= MOST_PLANS):
            planned = self._idle.popleft()
            planned.event.synchronize()
            return planned
        return _Planned(flashinfer.BatchPrefillWithPagedKVCacheWrapper(self._workspace, "NHD", backend="fa2"))

    def merge(self, out: Tensor, weight: Tensor, other: Tensor, other_weight: Tensor) -> None:
        flashinfer.merge_state_in_place(out, weight, other, other_weight)


class _Planned:
    """See `tables.Launch`."""

    def __init__(self, wrapper: Any) -> None:
        self.wrapper = wrapper
        self.event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def copied(self) -> bool:
        """Whether the device has come to it."""
        return bool(self.event.query())

    def run(self, query: Tensor, keys: Tensor, values: Tensor, out: Tensor, weigh: bool) -> Tensor | None:
        done = self.wrapper.run(query, (keys, values), out=out, return_lse=weigh)
        return done[1] if weigh else None
