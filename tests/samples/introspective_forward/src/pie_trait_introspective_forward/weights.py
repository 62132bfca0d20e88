"""The softmax of attention, written out: what a fused kernel never shows."""

from __future__ import annotations

import torch
from pie_backend_torch.kernels import Flavour
from torch import Tensor


def attention_weights(query: Tensor, keys: Tensor, visible: Tensor, flavour: Flavour) -> Tensor:
    """How much of its attention each token gives to each key, [heads, tokens, columns], in float32.

    query: [tokens, heads, width], keys: [columns, kv heads, width], both turned to their positions; neighbouring heads
    share a head of the keys where there are fewer of those (Ainslie et al. 2023). visible: [tokens, columns].
    A row that sees nothing is zeros. Sinks take their part and do not show.
    """
    tokens, heads, width = query.shape
    grouped = query.float().view(tokens, keys.shape[1], -1, width)
    scores = torch.einsum("tkgw,ckw->kgtc", grouped, keys.float()).reshape(heads, tokens, -1)
    scores = scores * (width**-0.5 if flavour.scale is None else flavour.scale)
    if flavour.softcap is not None:
        scores = torch.tanh(scores / flavour.softcap) * flavour.softcap
    scores = scores.masked_fill(~visible, float("-inf"))
    if flavour.sinks is not None:
        scores = torch.cat([scores, flavour.sinks.float().view(-1, 1, 1).expand(-1, tokens, 1)], -1)
    return torch.softmax(scores, -1)[..., : keys.shape[0]].nan_to_num(0.0)
