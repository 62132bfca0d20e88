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
from pie_backend_torch.kernels import Attention, Flavour, Gated, Kernels, Norm, QueryKeyValue, Recipe, Turning
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

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        return functional.rms_norm(x, norm.weight.shape, norm.weight, norm.eps)

    def query_key_value(self, norm: Norm, linear: Linear, how: Turning) -> QueryKeyValue:
        def run(
            x: Tensor, cos: Tensor, sin: Tensor, step: Step, pool: KvPool, layer: int
        ) -> tuple[Tensor, Tensor, Tensor]:
            joined = linear(self.norm(x, norm)).view(-1, how.heads + 2 * how.kv_heads, how.width)
            query, key, value = self._turned(joined, how, cos, sin)
            pool.write(layer, step.slots, key, value)
            return query, key, value

        return run

    def gated(self, norm: Norm, read: Callable[..., Linear], gate: str, up: str) -> Gated:
        gates, rises = read(gate), read(up)

        def run(x: Tensor) -> Tensor:
            x = self.norm(x, norm)
            return rises.mul(x, gates.silu(x))

        return run

    def scores(self, head: Linear, x: Tensor) -> Tensor:
        return head(pad_rows(x))[: x.shape[0]].float()

    def top(self, logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
        return top_probabilities(logits, count)

    def best(self, logits: Tensor) -> Tensor:
        return logits.max(-1).indices

    def draw(self, logits: Tensor, how: How) -> Tensor:
        return draw(logits, how, self.top)

    def _turned(self, joined: Tensor, how: Turning, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        both = how.heads + how.kv_heads
        turned = joined[:, :both]
        if how.norms is not None:
            query, key = joined[:, : how.heads], joined[:, how.heads : both]
            turned = torch.cat([self.norm(query, how.norms[0]), self.norm(key, how.norms[1])], 1)
        turned = turned * cos + turned.roll(how.width // 2, -1) * sin
        return turned[:, : how.heads], turned[:, how.heads :], joined[:, both:]


def torch_recipe(attention: str) -> Recipe:
    """The backend torch itself. attention: the option."""

    def make(config: LeanConfig, dtype: torch.dtype, device: torch.device, page_size: int) -> Kernels:
        shape = LayerShape(config.kv_heads, config.head_width, config.head_width)
        asked = [Asked(config.heads, shape, Flavour(window=window)) for window in dict.fromkeys(config.windows)]
        return TorchKernels(choose_attention(attention, asked, dtype, device, page_size))

    return Recipe("torch", make, generic=True)
