"""What is launched again and again, as one launch: CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Graphs:
    """Those of one backend. They run in turn, never two at a time, so they share the memory that they compute in."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._memory: Any = None

    @property
    def possible(self) -> bool:
        return self._device.type == "cuda"

    def record(self, launch: Callable[[], object]) -> Callable[[], object]:
        """Runs `launch` once, and returns what runs it again. Only where graphs are `possible`.

        Whatever it reads has to lie where it lies now whenever it is run again, and what it gives is to be written to
        tensors that were there before: what it allocates belongs to the graphs, and the next one writes over it.
        """
        current = torch.cuda.current_stream()
        aside = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            launch()
        current.wait_stream(aside)
        self._memory = self._memory or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory, capture_error_mode="thread_local"):
            launch()
        return graph.replay
