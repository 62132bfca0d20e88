"""The lean decoder's hot path on our own kernels; products of several rows are cuBLAS's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pie_backend_torch.building import (
    How,
    KvPool,
    LeanConfig,
    Linear,
    PlainLinear,
    Step,
    TorchKernels,
    listing,
)
from pie_backend_torch.kernels import Attention, Gated, Kernels, Norm, QueryKeyValue, Turning
from torch import Tensor

from pie_backend_triton.attention import TileAttention
from pie_backend_triton.coverage import check_coverage, processors
from pie_backend_triton.ops.best import best
from pie_backend_triton.ops.draw import draw
from pie_backend_triton.ops.matvec import gated_matvec, matvec
from pie_backend_triton.ops.norm import normed
from pie_backend_triton.ops.query_key_value import query_key_value
from pie_backend_triton.ops.rotary import turn_and_write
from pie_backend_triton.ops.swiglu import swiglu
from pie_backend_triton.ops.top import MOST, top
from pie_backend_triton.tiles import HEIGHTS, Cutting


class TritonLinear(PlainLinear):
    """See `linear.Linear`."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(weight.contiguous(), bias)

    def __call__(self, x: Tensor) -> Tensor:
        return matvec(x, self.weight, self.bias) if x.shape[0] == 1 else super().__call__(x)

    def add(self, x: Tensor, other: Tensor) -> Tensor:
        return matvec(x, self.weight, self.bias, other) if x.shape[0] == 1 else super().add(x, other)

    def behind(self, norm: Norm, x: Tensor) -> Tensor:
        """y of the normed x."""
        if x.shape[0] == 1:
            return matvec(x, self.weight, self.bias, norm=norm)
        return super().__call__(normed(x, norm))


class TritonKernels:
    """See `kernels.Kernels`. What goes through adapters is normed by itself: their terms want it, too."""

    def __init__(self, cutting: Cutting) -> None:
        self.attention: Attention = TileAttention(cutting)
        self._torch = TorchKernels()

    def pad(self, x: Tensor) -> Tensor:
        return x

    def linear(self, weight: Tensor, bias: Tensor | None) -> Linear:
        return TritonLinear(weight, bias)

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        return normed(x, norm)

    def query_key_value(self, norm: Norm, linear: Linear, how: Turning) -> QueryKeyValue:
        plain = linear if isinstance(linear, TritonLinear) else None

        def run(
            x: Tensor, cos: Tensor, sin: Tensor, step: Step, pool: KvPool, layer: int
        ) -> tuple[Tensor, Tensor, Tensor]:
            keys, values = pool.keys[layer], pool.values[layer]
            query = torch.empty(x.shape[0], how.heads, how.width, dtype=x.dtype, device=x.device)
            if plain is not None and how.norms is None and x.shape[0] == 1:
                query_key_value(x, norm, plain.weight, plain.bias, cos, sin, step.slots, query, keys, values)
            else:
                joined = linear(normed(x, norm)) if plain is None else plain.behind(norm, x)
                joined = joined.view(-1, how.heads + 2 * how.kv_heads, how.width)
                turn_and_write(joined, cos, sin, how.norms, step.slots, query, keys, values)
            return query, keys[:0], values[:0]  # attention takes them from the pool

        return run

    def gated(self, norm: Norm, read: Callable[..., Linear], gate: str, up: str) -> Gated:
        joined = read(gate, up)
        plain = joined if isinstance(joined, TritonLinear) else None

        def run(x: Tensor) -> Tensor:
            if plain is not None and x.shape[0] == 1:
                return gated_matvec(x, plain.weight, plain.bias, norm)
            return swiglu(joined(normed(x, norm)))

        return run

    def scores(self, head: Linear, x: Tensor) -> Tensor:
        if isinstance(head, TritonLinear) and x.shape[0] == 1:
            return matvec(x, head.weight, dtype=torch.float32)
        return head(x).float()

    def top(self, logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
        if 1 < count <= min(MOST, logits.shape[1] - 1):
            return top(logits.contiguous(), count)
        return self._torch.top(logits, count)

    def best(self, logits: Tensor) -> Tensor:
        return best(logits.contiguous())

    def draw(self, logits: Tensor, how: How) -> Tensor:
        ids, probs = listing(logits, how, self.top)
        return draw(ids, probs, how.temperature, how.top_k, how.top_p, how.min_p, how.seed, how.number)


def make_kernels(config: LeanConfig, dtype: torch.dtype, device: torch.device, page_size: int) -> Kernels:
    """See `kernels.Recipe`."""
    check_coverage(config, device)
    return TritonKernels(cutting_of(config, dtype, page_size, processors(device)))


def cutting_of(config: LeanConfig, dtype: torch.dtype, page_size: int, processors: int) -> Cutting:
    """How passes of a model are cut for a device with so many multiprocessors."""
    group = config.heads // config.kv_heads
    few = 32 if dtype == torch.float32 else 128  # exact products take more registers, and long to compile
    heights = HEIGHTS if config.head_width <= 64 else HEIGHTS[:2]  # wide heads leave too few registers to high tiles
    return Cutting(group, config.kv_heads, page_size, 2 * processors, few=few, heights=heights)
