"""Attention of one layer over the pool with torch's own kernels: gather each call's context, attend.

Every call is computed in shapes that depend on it alone (see `grouped`), so its result does not depend on the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pie_backend_torch.grouped import Group, Groups
from pie_backend_torch.kernels import PLAIN, Flavour
from pie_backend_torch.pool import KvPool
from pie_backend_torch.step import Span, Step


class GroupedAttention:
    """See `kernels.Attention`. Launches differ with the lengths of the calls, so they cannot be captured."""

    def plan(self, spans: Sequence[Span], page_size: int, ordered: bool) -> GroupedPlan:
        return GroupedPlan(spans, page_size, ordered)


class GroupedPlan(Groups):
    """See `kernels.AttentionPlan`."""

    def attend(self, pool: KvPool, layer: int, query: Tensor, key: Tensor, value: Tensor, flavour: Flavour) -> Tensor:
        padding = query.shape[0] - self.tokens
        if padding:
            query, key, value = query[: self.tokens], key[: self.tokens], value[: self.tokens]
        out = _all_groups(self, pool.keys[layer], pool.values[layer], query, key, value, flavour)
        return functional.pad(out, (0, 0, 0, 0, 0, padding)) if padding else out


def attend(
    step: Step, pool: KvPool, layer: int, query: Tensor, key: Tensor, value: Tensor, flavour: Flavour = PLAIN
) -> Tensor:
    """Write the new tokens' keys and values to the pool, then `AttentionPlan.attend`."""
    pool.write(layer, step.slots, key, value)
    return step.plan.attend(pool, layer, query, key, value, flavour)


def _all_groups(
    plan: Groups, keys: Tensor, values: Tensor, query: Tensor, key: Tensor, value: Tensor, flavour: Flavour
) -> Tensor:
    if len(plan.groups) == 1:
        return _group(plan, plan.groups[0], keys, values, query, key, value, flavour)
    out = query.new_empty(query.shape[0], query.shape[1], value.shape[2])
    for group in plan.groups:
        rows = group.rows
        assert rows is not None
        part = _group(plan, group, keys, values, query.index_select(0, rows), key, value, flavour)
        out.index_copy_(0, rows, part)
    return out


def _group(
    plan: Groups,
    group: Group,
    keys: Tensor,
    values: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    flavour: Flavour,
) -> Tensor:
    n, tokens, heads = group.n, group.tokens, query.shape[1]
    window = flavour.window
    bias: Tensor | None = None
    if group.width:
        shown = keys.index_select(0, group.context).view(n, group.width, *keys.shape[1:]).transpose(1, 2)
        given = values.index_select(0, group.context).view(n, group.width, *values.shape[1:]).transpose(1, 2)
        bias = plan.bias(group, window)
    else:
        if group.rows is not None:
            key, value = key.index_select(0, group.rows), value.index_select(0, group.rows)
        shown = key.view(n, tokens, *key.shape[1:]).transpose(1, 2)
        given = value.view(n, tokens, *value.shape[1:]).transpose(1, 2)
        if _needs_bias(tokens, flavour):
            bias = _in_order(tokens, window, query)
    asked = query.view(n, tokens, heads, -1)
    if flavour.softcap is not None or flavour.sinks is not None:
        assert bias is not None
        out = _by_hand(asked.transpose(1, 2), shown, given, bias, flavour).transpose(1, 2)
    elif tokens == 1:
        folded = asked.view(n, shown.shape[1], heads // shown.shape[1], -1)  # grouped heads become query rows
        out = _fused(folded, shown, given, bias, flavour.scale).reshape(n, 1, heads, -1)
    else:
        out = _fused(asked.transpose(1, 2), shown, given, bias, flavour.scale).transpose(1, 2)
    out = out.reshape(n * tokens, heads, -1)
    return out if group.blind is None else out.masked_fill(group.blind, 0.0)


def _needs_bias(tokens: int, flavour: Flavour) -> bool:
    windowed = flavour.window is not None and flavour.window < tokens
    return windowed or flavour.softcap is not None or flavour.sinks is not None


def _in_order(tokens: int, window: int | None, like: Tensor) -> Tensor:
    """The bias of `tokens` consecutive tokens over themselves, [1, 1, tokens, tokens]."""
    visible = torch.ones(tokens, tokens, dtype=torch.bool, device=like.device).tril()
    if window is not None:
        visible = visible.triu(1 - window)
    bias = torch.zeros(1, 1, tokens, tokens, dtype=like.dtype, device=like.device)
    return bias.masked_fill_(~visible, float("-inf"))


def _fused(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
    """torch's own attention; causal in order where there is no bias. [n, heads, tokens, width]."""
    if query.device.type == "cuda" and query.shape[1] != key.shape[1]:
        return _grouped_on_gpu(query, key, value, bias, scale)
    return _launched(query, key, value, bias, scale)


def _grouped_on_gpu(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
    """Grouped heads on a GPU, where the fused kernel that takes a bias or float32 may want one key head for each.

    (It is so up to torch 2.11; without it torch would fall back to one that writes all scores to memory.)
    """
    n, heads, tokens, width = query.shape
    folds = heads // key.shape[1]
    if bias is not None:  # the heads of a group become query rows
        folded = query.reshape(n, key.shape[1], folds * tokens, width)
        return _launched(folded, key, value, bias.repeat(1, 1, folds, 1), scale).reshape(n, heads, tokens, -1)
    if query.dtype == torch.float32:
        key, value = key.repeat_interleave(folds, 1), value.repeat_interleave(folds, 1)
    return _launched(query, key, value, None, scale)


def _launched(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
    n, width, out_width = query.shape[0], key.shape[3], value.shape[3]
    if out_width < width:  # the fast kernels want one width
        value = functional.pad(value, (0, width - out_width))
    if n * query.shape[1] == 1 and query.device.type == "cpu":
        # a lone head would be split over threads, and round differently
        query, key, value = (tensor.expand(2, -1, -1, -1) for tensor in (query, key, value))
    out = functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=bias,
        is_causal=bias is None,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out[:n, ..., :out_width]


def _by_hand(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, flavour: Flavour) -> Tensor:
    """Attention with soft-capped scores and sinks, which the fused kernels do not have. [n, heads, tokens, width]."""
    n, heads, tokens, width = query.shape
    folds = heads // key.shape[1]
    key, value = key.contiguous(), value.contiguous()  # torch would copy several, not one: other kernels, other bits
    scale = width**-0.5 if flavour.scale is None else flavour.scale
    folded = query.reshape(n, key.shape[1], folds * tokens, width)
    scores = (folded @ key.transpose(2, 3)).view(n, heads, tokens, -1) * scale
    if flavour.softcap is not None:
        scores = torch.tanh(scores / flavour.softcap) * flavour.softcap
    scores = scores + bias
    if flavour.sinks is not None:
        sinks = flavour.sinks.to(scores.dtype).view(1, heads, 1, 1).expand(n, heads, tokens, 1)
        scores = torch.cat([scores, sinks], -1)
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(value.dtype)[..., : key.shape[2]]
    return (weights.view(n, key.shape[1], folds * tokens, -1) @ value).view(n, heads, tokens, -1)
