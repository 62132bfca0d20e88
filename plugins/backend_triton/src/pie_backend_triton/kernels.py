"""The lean decoder's hot path on our own kernels; products of several rows are cuBLAS's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pie_backend_torch.building import LISTED, How, KvPool, LeanConfig, Linear, Step, TorchKernels, uniform
from pie_backend_torch.kernels import Attention, Gated, Kernels, Turning
from torch import Tensor
from torch.nn import functional

from pie_backend_triton.attention import TileAttention
from pie_backend_triton.coverage import check_coverage, processors
from pie_backend_triton.ops.draw import draw
from pie_backend_triton.ops.matvec import gated_matvec, matvec
from pie_backend_triton.ops.norm import add_norm, norm
from pie_backend_triton.ops.rotary import turn_and_write
from pie_backend_triton.ops.swiglu import swiglu
from pie_backend_triton.ops.top import MOST, top
from pie_backend_triton.tiles import Cutting


class TritonLinear:
    """See `linear.Linear`."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = weight.contiguous()
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return matvec(x, self.weight, self.bias) if x.shape[0] == 1 else functional.linear(x, self.weight, self.bias)

    def silu(self, x: Tensor) -> Tensor:
        return functional.silu(self(x))

    def mul(self, x: Tensor, other: Tensor) -> Tensor:
        return self(x) * other

    def add(self, x: Tensor, other: Tensor) -> Tensor:
        return matvec(x, self.weight, self.bias, other) if x.shape[0] == 1 else self(x) + other


class TritonKernels:
    """See `kernels.Kernels`."""

    def __init__(self, cutting: Cutting) -> None:
        self.attention: Attention = TileAttention(cutting)
        self._torch = TorchKernels()

    def pad(self, x: Tensor) -> Tensor:
        return x

    def linear(self, weight: Tensor, bias: Tensor | None) -> Linear:
        return TritonLinear(weight, bias)

    def gated(self, read: Callable[..., Linear], gate: str, up: str) -> Gated:
        joined = read(gate, up)

        def run(x: Tensor) -> Tensor:
            if x.shape[0] == 1 and isinstance(joined, TritonLinear):
                return gated_matvec(x, joined.weight, joined.bias)
            return swiglu(joined(x))

        return run

    def norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return norm(x, weight, eps)

    def add_norm(self, linear: Linear, y: Tensor, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        if x.shape[0] == 1:
            x = linear.add(y, x)
            return x, norm(x, weight, eps)
        return add_norm(x, linear(y), weight, eps)

    def turn(
        self, joined: Tensor, how: Turning, cos: Tensor, sin: Tensor, step: Step, pool: KvPool, layer: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        query = torch.empty(joined.shape[0], how.heads, how.width, dtype=joined.dtype, device=joined.device)
        keys, values = pool.keys[layer], pool.values[layer]
        turn_and_write(joined, cos, sin, how.norms, how.eps, step.slots, query, keys, values)
        both = how.heads + how.kv_heads
        return query, joined[:, how.heads : both], joined[:, both:]

    def top(self, logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
        if 1 < count <= min(MOST, logits.shape[1] - 1):
            return top(logits.contiguous(), count)
        return self._torch.top(logits, count)

    def draw(self, logits: Tensor, how: How) -> Tensor:
        ids, probs = self.top(logits, min(LISTED, logits.shape[1]))
        return draw(ids, probs, how.temperature, how.top_k, how.top_p, how.min_p, uniform(how.seed, how.number))


def make_kernels(config: LeanConfig, dtype: torch.dtype, device: torch.device, page_size: int) -> Kernels:
    """See `kernels.Recipe`."""
    check_coverage(config, dtype, device, page_size)
    group = config.heads // config.kv_heads
    return TritonKernels(Cutting(group, config.kv_heads, page_size, programs=2 * processors(device)))
