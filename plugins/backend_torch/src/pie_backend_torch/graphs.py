"""What is launched again and again, as one launch: CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Graphs:
    """Those of one backend, kept as long as it is. They run in turn, so they share the memory that they compute in.

    (Which is gone, and what names it useless, with the last graph that has it.)
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._memory: Any = None
        self._kept: list[Any] = []

    @property
    def possible(self) -> bool:
        return self._device.type == "cuda"

    def record(self, launch: Callable[[], object]) -> Callable[[], object]:
        """What runs `launch`, which has been run before, as one launch; it is not run now. Where they are `possible`.

        Whatever it reads has to lie where it lies now whenever it is run again, and what it gives is to be written to
        tensors that were there before: what it allocates belongs to the graphs, and the next one writes over it.
        """
        self._memory = self._memory or torch.cuda.graph_pool_handle()
        graph: Any = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory, capture_error_mode="thread_local"):
            launch()
        self._kept.append(graph)
        return graph.replay  # type: ignore[no-any-return]
