"""A pass that somebody looks on at: its own plan, which tells of each layer first."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pie_backend_torch.kernels import AttentionPlan, Flavour, Watch
from pie_backend_torch.pool import KvPool
from pie_backend_torch.step import Ints, Step


class WatchedPlan:
    """See `kernels.AttentionPlan`. The plan is ready: it has its arrays and its place."""

    def __init__(self, plan: AttentionPlan, watch: Watch) -> None:
        self._plan, self._watch = plan, watch

    @property
    def arrays(self) -> Sequence[Ints]:
        return self._plan.arrays

    def receive(self, tensors: Sequence[Tensor], device: torch.device) -> None:
        self._plan.receive(tensors, device)

    def place(self, step: Step, pool: KvPool) -> None:
        self._plan.place(step, pool)

    def attend(self, pool: KvPool, layer: int, query: Tensor, key: Tensor, value: Tensor, flavour: Flavour) -> Tensor:
        self._watch(layer, query, flavour)
        return self._plan.attend(pool, layer, query, key, value, flavour)
