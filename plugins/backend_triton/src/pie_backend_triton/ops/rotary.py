"""What lies between a layer's first product and its attention: norms of heads, rotary positions, the write to the pool.

Rotary positions (Su et al. 2021) in the form of Llama checkpoints: a number meets the one half a head away. One pass,
in float32 until it is stored.
"""

from __future__ import annotations

import triton
import triton.language as tl
from pie_backend_torch.kernels import Norm
from torch import Tensor

from pie_backend_triton.ops.following import follow, following


@triton.jit
def rotary_kernel(
    joined,
    cos,
    sin,
    query_norm,
    key_norm,
    slots,
    query,
    keys,
    values,
    query_eps,
    key_eps,
    turn_row,
    key_slot,
    value_slot,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    LANES: tl.constexpr,
    AT_ONCE: tl.constexpr,
    NORMED: tl.constexpr,
    FOLLOWS: tl.constexpr,
):
    """See `turn_and_write`. One program for a row and AT_ONCE heads."""
    follow(FOLLOWS)
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * AT_ONCE + tl.arange(0, AT_ONCE)
    lane = tl.arange(0, LANES)
    opposite = (lane + WIDTH // 2) % WIDTH
    within = (head < HEADS + 2 * KV_HEADS)[:, None] & (lane < WIDTH)[None, :]
    is_query = head < HEADS
    is_value = head >= HEADS + KV_HEADS
    source = joined + (row * (HEADS + 2 * KV_HEADS) + head[:, None]) * WIDTH
    raw = tl.load(source + lane[None, :], mask=within, other=0.0)
    x = raw.to(tl.float32)
    across = tl.load(source + opposite[None, :], mask=within, other=0.0).to(tl.float32)
    if NORMED:
        inverse = 1.0 / tl.sqrt(tl.sum(x * x, 1) / WIDTH + tl.where(is_query, query_eps, key_eps))
        asks = is_query[:, None] & within
        gives = (~is_query & ~is_value)[:, None] & within
        weight = tl.load(query_norm + lane[None, :] + 0 * head[:, None], mask=asks, other=0.0).to(tl.float32)
        weight += tl.load(key_norm + lane[None, :] + 0 * head[:, None], mask=gives, other=0.0).to(tl.float32)
        weight_across = tl.load(query_norm + opposite[None, :] + 0 * head[:, None], mask=asks, other=0.0).to(tl.float32)
        weight_across += tl.load(key_norm + opposite[None, :] + 0 * head[:, None], mask=gives, other=0.0).to(tl.float32)
        x = x * inverse[:, None] * weight
        across = across * inverse[:, None] * weight_across
    on = lane < WIDTH
    turn = tl.load(cos + row * turn_row + lane, mask=on, other=0.0).to(tl.float32)
    swap = tl.load(sin + row * turn_row + lane, mask=on, other=0.0).to(tl.float32)
    turned = x * turn[None, :] + across * swap[None, :]
    slot = tl.load(slots + row)
    target = query + (row * HEADS + head[:, None]) * WIDTH + lane[None, :]
    tl.store(target, turned.to(query.dtype.element_ty), mask=within & is_query[:, None])
    target = keys + slot * key_slot + (head[:, None] - HEADS) * WIDTH + lane[None, :]
    tl.store(target, turned.to(keys.dtype.element_ty), mask=within & (~is_query & ~is_value)[:, None])
    target = values + slot * value_slot + (head[:, None] - HEADS - KV_HEADS) * WIDTH + lane[None, :]
    tl.store(target, raw, mask=within & is_value[:, None])


def turn_and_write(
    joined: Tensor,
    cos: Tensor,
    sin: Tensor,
    norms: tuple[Norm, Norm] | None,
    slots: Tensor,
    query: Tensor,
    keys: Tensor,
    values: Tensor,
) -> None:
    """Write queries to `query` [rows, heads, width] and keys and values to `slots` of the pool, the first `slots` rows.

    joined [rows, heads + 2 kv heads, width]: queries, keys, values side by side; cos and sin [rows, 1, width], of the
    same stride, with the sign of the half that is negated in sin: out = x * cos + roll(x, width / 2) * sin. norms: of
    queries and of keys, over the width. keys and values [slots, kv heads, width], dense but for the slots' stride;
    slots [n] int64, no two equal.
    """
    heads, kv_heads, width = query.shape[1], keys.shape[1], query.shape[2]
    at_once = 8
    first, second = norms or (Norm(cos, 0.0), Norm(cos, 0.0))
    rotary_kernel[(slots.shape[0], triton.cdiv(heads + 2 * kv_heads, at_once))](
        joined,
        cos,
        sin,
        first.weight,
        second.weight,
        slots,
        query,
        keys,
        values,
        first.eps,
        second.eps,
        cos.stride(0),
        keys.stride(0),
        values.stride(0),
        HEADS=heads,
        KV_HEADS=kv_heads,
        WIDTH=width,
        LANES=triton.next_power_of_2(width),
        AT_ONCE=at_once,
        NORMED=norms is not None,
        num_warps=2,
        **following(joined.device),
    )
