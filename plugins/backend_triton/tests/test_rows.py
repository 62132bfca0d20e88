"""Kernels over rows say what torch says in float64: norms, rotary positions and the pool, SwiGLU, products."""

from __future__ import annotations

import pytest
import torch
from pie_backend_triton.ops.matvec import gated_matvec, matvec
from pie_backend_triton.ops.norm import add_norm, norm
from pie_backend_triton.ops.rotary import turn_and_write
from pie_backend_triton.ops.swiglu import swiglu
from torch.nn import functional

from .conftest import BOUNDS, DEVICE, poisoned, worst

DTYPES = pytest.mark.parametrize("dtype", BOUNDS, ids=str)
EPS = 1e-5

pytestmark = pytest.mark.usefixtures("poison")


def made(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(DEVICE, dtype)


def rms(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return functional.rms_norm(x, weight.shape, weight.double(), EPS)


@DTYPES
@pytest.mark.parametrize("width", [64, 300, 2049])
def test_norms_alone_and_behind_a_sum(dtype: torch.dtype, width: int) -> None:
    x, delta, weight = made(5, width, dtype=dtype), made(6, width, dtype=dtype)[1:], made(width, dtype=dtype)
    assert worst(norm(x, weight, EPS), rms(x.double(), weight)) < BOUNDS[dtype]
    total, normed = add_norm(x, delta.contiguous(), weight, EPS)
    assert worst(total, x.double() + delta.double()) < BOUNDS[dtype]
    assert worst(normed, rms(total.double(), weight)) < BOUNDS[dtype]
    assert torch.equal(normed, norm(total, weight, EPS))  # of the sum as it was rounded


@DTYPES
@pytest.mark.parametrize("width", [1, 333, 2500])
def test_swiglu(dtype: torch.dtype, width: int) -> None:
    joined = made(3, 2 * width, dtype=dtype) * 4
    exact = functional.silu(joined.double()[:, :width]) * joined.double()[:, width:]
    assert worst(swiglu(joined), exact) < BOUNDS[dtype]


@DTYPES
@pytest.mark.parametrize("shape", [(6, 40), (70, 1300)], ids=str)
def test_products_of_one_row_with_what_follows(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    outs, ins = shape
    weight, bias, x = made(outs, ins, dtype=dtype), made(outs, dtype=dtype), made(1, ins, dtype=dtype)
    other = made(1, outs, dtype=dtype)
    plain = x.double() @ weight.double().T
    assert worst(matvec(x, weight), plain) < BOUNDS[dtype]
    assert worst(matvec(x, weight, bias, other), plain + bias.double() + other.double()) < BOUNDS[dtype]
    for given, value in ((None, plain), (bias, plain + bias.double())):
        gate, up = value.chunk(2, 1)
        assert worst(gated_matvec(x, weight, given), functional.silu(gate) * up) < BOUNDS[dtype]


@DTYPES
@pytest.mark.parametrize("shape", [(8, 2, 64), (3, 1, 96), (5, 5, 128), (2, 1, 6)], ids=str)
@pytest.mark.parametrize("normed", [False, True])
def test_queries_are_turned_and_keys_and_values_written_to_their_slots_alone(
    dtype: torch.dtype, shape: tuple[int, int, int], normed: bool
) -> None:
    heads, kv_heads, width = shape
    rows, both = 4, heads + kv_heads
    joined = made(rows + 1, both + kv_heads, width, dtype=dtype)  # the last row is padding
    cos, sin = made(rows + 1, width, dtype=dtype), made(rows + 2, width, dtype=dtype)[1:].contiguous()
    norms = (made(width, dtype=dtype), made(width + 1, dtype=dtype)[1:].contiguous()) if normed else None
    slots = torch.tensor([7, 0, 11, 3], device=DEVICE)
    query = poisoned(rows + 1, heads, width, dtype=dtype)
    keys, values = poisoned(12, kv_heads, width, dtype=dtype), poisoned(12, kv_heads, width, dtype=dtype)
    turn_and_write(joined, cos, sin, norms, EPS, slots, query, keys, values)
    x = joined.double()[:rows]
    turned = x[:, :both]
    if norms is not None:
        turned = torch.cat([rms(x[:, :heads], norms[0]), rms(x[:, heads:both], norms[1])], 1)
    turned = turned * cos.double()[:rows, None] + turned.roll(width // 2, -1) * sin.double()[:rows, None]
    assert worst(query[:rows], turned[:, :heads]) < BOUNDS[dtype]
    assert worst(keys[slots], turned[:, heads:]) < BOUNDS[dtype]
    assert torch.equal(values[slots], joined[:rows, both:])
    others = [slot for slot in range(12) if slot not in slots.tolist()]
    assert keys[others].isnan().all() and values[others].isnan().all() and query[rows:].isnan().all()
