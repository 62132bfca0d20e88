"""The time of launches without the host's share: captured in a CUDA graph, over inputs that no cache holds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

CACHE_BYTES = 192 << 20  # more than any GPU keeps on chip
REPLAYS = 7


def copies_of(nbytes: int, device: torch.device) -> int:
    """How many inputs of a size are to be used in turn, so that none is read from a cache."""
    return 1 if device.type == "cpu" else max(1, min(64, -(-CACHE_BYTES // max(nbytes, 1))))


def us_of(calls: Sequence[Callable[[], Any]], device: torch.device) -> float:
    """Microseconds of one of the calls, which do the same over other inputs: the median of replays of all in a row."""
    for call in calls:
        call()
    if device.type == "cpu":
        started = time.perf_counter()
        calls[0]()
        return (time.perf_counter() - started) * 1e6
    torch.cuda.synchronize()
    times = max(1, 8 // len(calls))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(times):
            for call in calls:
                call()
    found = []
    for _ in range(REPLAYS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()  # type: ignore[no-untyped-call]
        graph.replay()
        end.record()  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        found.append(start.elapsed_time(end) * 1e3 / (times * len(calls)))
    return statistics.median(found)


def host_us_of(call: Callable[[], Any], device: torch.device, times: int = 20) -> float:
    """Microseconds of a call that is launched from the host, kernel after kernel, device included."""
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(times):
        call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) * 1e6 / times


def read_gbps(device: torch.device) -> float:
    """GB/s at which the device reads memory: the sum of a large tensor of numbers."""
    numbers = torch.ones((2 << 30 if device.type == "cuda" else 1 << 20) // 4, device=device)
    return numbers.nbytes / us_of([numbers.sum], device) / 1e3
