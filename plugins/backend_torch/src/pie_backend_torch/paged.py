"""Our attention under transformers' unmodified modules, through its AttentionInterface.

A decoder is called with one extra keyword, `pie`: a function that takes one layer's query, key and value and returns
what was attended to. Transformers hands it down to the attention of every layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pie_backend_torch.attention import attend
from pie_backend_torch.flash.selfcheck import Asked
from pie_backend_torch.kernels import Flavour
from pie_backend_torch.pool import KvPool, LayerShape
from pie_backend_torch.step import Step
from pie_core.errors import UnsupportedError

NAME = "pie_paged"
Attention = Callable[[int, Tensor, Tensor, Tensor, Flavour], Tensor]
"""(layer, query, key, value, flavour) -> out; all [tokens, heads, width]."""


def register() -> None:
    """Make the attention known to transformers as `pie_paged`. May be called again."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _paged_attention)


def over_pool(step: Step, pool: KvPool) -> Attention:
    """Attention of one pass over the pool."""

    def attention(layer: int, query: Tensor, key: Tensor, value: Tensor, flavour: Flavour) -> Tensor:
        kept = pool.keys[layer].dtype
        return attend(step, pool, layer, query.to(kept), key.to(kept), value.to(kept), flavour).to(query.dtype)

    return attention


class Recorder:
    """Stands in for the attention to learn what each layer keeps and asks for; its output is zeros."""

    def __init__(self) -> None:
        self.shapes: dict[int, LayerShape] = {}
        self.asked: list[Asked] = []

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, flavour: Flavour) -> Tensor:
        self.shapes[layer] = LayerShape(key.shape[1], key.shape[2], value.shape[2])
        asked = Asked(query.shape[1], self.shapes[layer], flavour)
        if flavour.sinks is not None or asked not in self.asked:  # tensors are not compared
            self.asked.append(asked)
        return query.new_zeros(query.shape[0], query.shape[1], value.shape[2])


def _paged_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    pie: Attention | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' signature: query, key, value [1, heads, tokens, width] -> [1, tokens, heads, width]."""
    if pie is None:
        raise UnsupportedError(f"{type(module).__name__} does not pass keywords on to its attention")
    flavour = Flavour(scaling, sliding_window, softcap, s_aux)
    query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    return torch.unsqueeze(pie(module.layer_idx, query, key, value, flavour), 0), None
