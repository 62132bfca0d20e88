"""Torch's own kernels for the lean decoder; on a CPU oneDNN's, with what those run behind a product."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from pie_backend_torch.ahead.drawing import How, draw
from pie_backend_torch.attention import GroupedAttention
from pie_backend_torch.flash.choice import choose_attention
from pie_backend_torch.flash.selfcheck import Asked
from pie_backend_torch.kernels import Attention, Flavour, Gated, Kernels, Recipe, Turning
from pie_backend_torch.lean_config import LeanConfig
from pie_backend_torch.linear import Linear, LinearMaker
from pie_backend_torch.pool import KvPool, LayerShape
from pie_backend_torch.rows import pad_rows
from pie_backend_torch.step import Step
from pie_backend_torch.top import top_probabilities


class TorchKernels:
    """See `kernels.Kernels`."""

    def __init__(self, attention: Attention | None = None) -> None:
        self.attention: Attention = attention or GroupedAttention()
        self._maker = LinearMaker()

    def pad(self, x: Tensor) -> Tensor:
        return pad_rows(x)

    def linear(self, weight: Tensor, bias: Tensor | None) -> Linear:
        return self._maker.make(weight, bias)

    def gated(self, read: Callable[..., Linear], gate: str, up: str) -> Gated:
        gates, rises = read(gate), read(up)
        return lambda x: rises.mul(x, gates.silu(x))

    def norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return functional.rms_norm(x, weight.shape, weight, eps)

    def add_norm(self, linear: Linear, y: Tensor, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        x = linear.add(y, x)
        return x, self.norm(x, weight, eps)

    def turn(
        self, joined: Tensor, how: Turning, cos: Tensor, sin: Tensor, step: Step, pool: KvPool, layer: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        both = how.heads + how.kv_heads
        turned = joined[:, :both]
        if how.norms is not None:
            query = self.norm(joined[:, : how.heads], how.norms[0], how.eps)
            key = self.norm(joined[:, how.heads : both], how.norms[1], how.eps)
            turned = torch.cat([query, key], 1)
        turned = turned * cos + turned.roll(how.width // 2, -1) * sin
        query, key, value = turned[:, : how.heads], turned[:, how.heads :], joined[:, both:]
        pool.write(layer, step.slots, key, value)
        return query, key, value

    def top(self, logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
        return top_probabilities(logits, count)

    def draw(self, logits: Tensor, how: How) -> Tensor:
        return draw(logits, how, self.top)


def torch_recipe(attention: str) -> Recipe:
    """The backend torch itself. attention: the option."""

    def make(config: LeanConfig, dtype: torch.dtype, device: torch.device, page_size: int) -> Kernels:
        shape = LayerShape(config.kv_heads, config.head_width, config.head_width)
        asked = [Asked(config.heads, shape, Flavour(window=window)) for window in dict.fromkeys(config.windows)]
        return TorchKernels(choose_attention(attention, asked, dtype, device, page_size))

    return Recipe("torch", make, generic=True)
