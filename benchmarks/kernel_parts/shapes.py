"""The models in whose shapes kernels are measured, and where that is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

PAGE = 16


@dataclass(frozen=True)
class Shape:
    """A Llama model."""

    hidden: int
    inner: int
    heads: int
    kv_heads: int
    width: int
    layers: int
    vocab: int
    tied: bool = True

    def kv_numbers(self, calls: int, context: int, new: int, own: int) -> int:
        """Keys and values of a layer that calls of `new` tokens look at, what they share once; see `calls_of`."""
        tokens = context * (1 if own >= 0 else calls) + calls * (max(own, 0) + new)
        return tokens * 2 * self.kv_heads * self.width


SHAPES = {
    "1b": Shape(2048, 8192, 32, 8, 64, 16, 128256),
    "3b": Shape(3072, 8192, 24, 8, 128, 28, 128256),
    "8b": Shape(4096, 14336, 32, 8, 128, 32, 128256, tied=False),
    "tiny": Shape(64, 96, 4, 2, 64, 1, 300),
}


@dataclass(frozen=True)
class Run:
    """Where and what is measured."""

    device: torch.device
    dtype: torch.dtype
    gbps: float
    tiny: bool

    def normal(self, *shape: int, scale: float = 1.0) -> torch.Tensor:
        return torch.randn(*shape, dtype=self.dtype, device=self.device).mul_(scale)

    def roof(self, nbytes: int, us: float) -> float:
        """How much of the device's read bandwidth it is to move so many bytes in this time."""
        return round(nbytes / us / 1e3 / self.gbps, 3)

    def pick(self, full: Any, tiny: Any) -> Any:
        return tiny if self.tiny else full


def error(got: torch.Tensor, exact: torch.Tensor) -> float:
    """The largest error as a share of the largest number, to two digits."""
    worst = (got.double() - exact.double()).abs().max() / exact.abs().max()
    return float(f"{worst.item():.2g}")
