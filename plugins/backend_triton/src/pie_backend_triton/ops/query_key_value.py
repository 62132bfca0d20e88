"""A layer's queries, keys and values of one row, from the row before its norm to the pool: one launch.

`matvec.products` with the rotary positions of `rotary` behind it: a program takes some numbers of one head and those
half a head away, which they turn with.
"""

from __future__ import annotations

import triton
import triton.language as tl
from pie_backend_torch.kernels import Norm
from torch import Tensor

from pie_backend_triton.ops.following import following
from pie_backend_triton.ops.matvec import products


@triton.jit
def query_key_value_kernel(
    weight,
    x,
    gain,
    bias,
    cos,
    sin,
    slots,
    query,
    keys,
    values,
    eps,
    key_slot,
    value_slot,
    INS: tl.constexpr,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    AT_ONCE: tl.constexpr,
    LANES: tl.constexpr,
    BIASED: tl.constexpr,
    FOLLOWS: tl.constexpr,
):
    """See `query_key_value`. One program for a head and AT_ONCE numbers in each half of it."""
    head = tl.program_id(0)
    low = tl.program_id(1) * AT_ONCE + tl.arange(0, AT_ONCE)
    high = low + WIDTH // 2
    there = low < WIDTH // 2
    line = weight + (head * WIDTH + low).to(tl.int64) * INS
    opposite = line + WIDTH // 2 * INS
    value, across = products(line, opposite, there, x, gain, eps, INS, LANES, True, True, FOLLOWS)
    if BIASED:
        value += tl.load(bias + head * WIDTH + low, mask=there, other=0.0).to(tl.float32)
        across += tl.load(bias + head * WIDTH + high, mask=there, other=0.0).to(tl.float32)
    if head < HEADS + KV_HEADS:
        turned = value * tl.load(cos + low, mask=there, other=0.0).to(tl.float32)
        turned += across * tl.load(sin + low, mask=there, other=0.0).to(tl.float32)
        across = across * tl.load(cos + high, mask=there, other=0.0).to(tl.float32)
        across += value * tl.load(sin + high, mask=there, other=0.0).to(tl.float32)
        value = turned
    if head < HEADS:
        target = query + head * WIDTH
    else:
        slot = tl.load(slots)
        if head < HEADS + KV_HEADS:
            target = keys + slot * key_slot + (head - HEADS) * WIDTH
        else:
            target = values + slot * value_slot + (head - HEADS - KV_HEADS) * WIDTH
    tl.store(target + low, value.to(query.dtype.element_ty), mask=there)
    tl.store(target + high, across.to(query.dtype.element_ty), mask=there)


def query_key_value(
    x: Tensor,
    norm: Norm,
    weight: Tensor,
    bias: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    slots: Tensor,
    query: Tensor,
    keys: Tensor,
    values: Tensor,
) -> None:
    """Norms x [1, in], and writes its query to `query` [1, heads, width], its key and value to the slot of the pool.

    weight [(heads + 2 kv heads) * width, in] and bias: queries, keys, values side by side. cos and sin [1, 1, width] as
    in `rotary.turn_and_write`. keys and values [slots, kv heads, width], dense but for the slots' stride; slots [1]
    int64. All of one type; rounded once, when stored.
    """
    heads, kv_heads, width = query.shape[1], keys.shape[1], query.shape[2]
    shape = shape_of()
    query_key_value_kernel[(heads + 2 * kv_heads, triton.cdiv(width // 2, shape["AT_ONCE"]))](
        weight,
        x,
        norm.weight,
        x if bias is None else bias,
        cos,
        sin,
        slots,
        query,
        keys,
        values,
        norm.eps,
        keys.stride(0),
        values.stride(0),
        INS=weight.shape[1],
        HEADS=heads,
        KV_HEADS=kv_heads,
        WIDTH=width,
        BIASED=bias is not None,
        **shape,
        **following(x.device),
    )


def shape_of() -> dict[str, int]:
    """How the work is cut (see `matvec.shape_of`): so few programs that the attention behind can start meanwhile."""
    return {"AT_ONCE": 4, "LANES": 1024, "num_warps": 8}
