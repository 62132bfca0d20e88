"""Kernels over rows say what torch says in float64: norms, rotary positions and the pool, SwiGLU, products."""

from __future__ import annotations

import pytest
import torch
from pie_backend_torch.kernels import Norm
from pie_backend_triton.ops.matvec import gated_matvec, matvec
from pie_backend_triton.ops.norm import normed
from pie_backend_triton.ops.query_key_value import query_key_value
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
def test_norms(dtype: torch.dtype, width: int) -> None:
    x, weight = made(5, width, dtype=dtype), made(width, dtype=dtype)
    assert worst(normed(x, Norm(weight, EPS)), rms(x.double(), weight)) < BOUNDS[dtype]


@DTYPES
@pytest.mark.parametrize("width", [1, 333, 2500])
def test_swiglu(dtype: torch.dtype, width: int) -> None:
    joined = made(3, 2 * width, dtype=dtype) * 4
    exact = functional.silu(joined.double()[:, :width]) * joined.double()[:, width:]
    assert worst(swiglu(joined), exact) < BOUNDS[dtype]


@DTYPES
@pytest.mark.parametrize("shape", [(6, 40), (70, 1300), (70, 5000)], ids=str)
def test_products_of_one_row_with_what_comes_before_and_behind(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    outs, ins = shape
    weight, x = made(outs, ins, dtype=dtype) * ins**-0.5, made(1, ins, dtype=dtype)
    bias, other, norm = made(outs, dtype=dtype), made(1, outs, dtype=dtype), Norm(made(ins, dtype=dtype), EPS)
    plain = x.double() @ weight.double().T
    behind = rms(x.double(), norm.weight) @ weight.double().T
    assert worst(matvec(x, weight), plain) < BOUNDS[dtype]
    assert worst(matvec(x, weight, dtype=torch.float32), plain) < BOUNDS[torch.float32]
    assert worst(matvec(x, weight, norm=norm), behind) < BOUNDS[dtype]
    assert worst(matvec(x, weight, bias, other), plain + bias.double() + other.double()) < BOUNDS[dtype]
    for given, first in ((None, None), (bias, None), (bias, norm)):
        value = (plain if first is None else behind) + (0.0 if given is None else given.double())
        gate, up = value.chunk(2, 1)
        assert worst(gated_matvec(x, weight, given, first), functional.silu(gate) * up) < BOUNDS[dtype]


@DTYPES
@pytest.mark.parametrize("shape", [(8, 2, 64), (3, 1, 96), (2, 1, 6)], ids=str)
@pytest.mark.parametrize("biased", [False, True])
def test_queries_keys_and_values_of_one_row_in_one_launch(
    dtype: torch.dtype, shape: tuple[int, int, int], biased: bool
) -> None:
    heads, kv_heads, width = shape
    both, ins = heads + kv_heads, 70
    weight, x = made((both + kv_heads) * width, ins, dtype=dtype), made(1, ins, dtype=dtype)
    bias, norm = made((both + kv_heads) * width, dtype=dtype) if biased else None, Norm(made(ins, dtype=dtype), EPS)
    cos, sin = made(1, 2, width, dtype=dtype).split(1, 1)
    query = poisoned(1, heads, width, dtype=dtype)
    keys, values = poisoned(4, kv_heads, width, dtype=dtype), poisoned(4, kv_heads, width, dtype=dtype)
    query_key_value(x, norm, weight, bias, cos, sin, torch.tensor([2], device=DEVICE), query, keys, values)
    joined = rms(x.double(), norm.weight) @ weight.double().T + (0.0 if bias is None else bias.double())
    joined = joined.view(1, both + kv_heads, width)
    turned = joined[:, :both] * cos.double() + joined[:, :both].roll(width // 2, -1) * sin.double()
    assert worst(query, turned[:, :heads]) < BOUNDS[dtype]
    assert worst(keys[2:3], turned[:, heads:]) < BOUNDS[dtype]
    assert worst(values[2:3], joined[:, both:]) < BOUNDS[dtype]
    assert keys[[0, 1, 3]].isnan().all() and values[[0, 1, 3]].isnan().all()


@DTYPES
@pytest.mark.parametrize("shape", [(8, 2, 64), (3, 1, 96), (5, 5, 128), (2, 1, 6)], ids=str)
@pytest.mark.parametrize("with_norms", [False, True])
def test_queries_are_turned_and_keys_and_values_written_to_their_slots_alone(
    dtype: torch.dtype, shape: tuple[int, int, int], with_norms: bool
) -> None:
    heads, kv_heads, width = shape
    rows, both = 4, heads + kv_heads
    joined = made(rows + 1, both + kv_heads, width, dtype=dtype)  # the last row is padding
    cos, sin = made(rows + 1, 2, width, dtype=dtype).split(1, 1)
    weights = made(width, dtype=dtype), made(width + 1, dtype=dtype)[1:].contiguous()
    norms = (Norm(weights[0], EPS), Norm(weights[1], EPS)) if with_norms else None
    slots = torch.tensor([7, 0, 11, 3], device=DEVICE)
    query = poisoned(rows + 1, heads, width, dtype=dtype)
    keys, values = poisoned(12, kv_heads, width, dtype=dtype), poisoned(12, kv_heads, width, dtype=dtype)
    turn_and_write(joined, cos, sin, norms, slots, query, keys, values)
    x = joined.double()[:rows]
    turned = x[:, :both]
    if norms is not None:
        turned = torch.cat([rms(x[:, :heads], weights[0]), rms(x[:, heads:both], weights[1])], 1)
    turned = turned * cos.double()[:rows] + turned.roll(width // 2, -1) * sin.double()[:rows]
    assert worst(query[:rows], turned[:, :heads]) < BOUNDS[dtype]
    assert worst(keys[slots], turned[:, heads:]) < BOUNDS[dtype]
    assert torch.equal(values[slots], joined[:rows, both:])
    others = [slot for slot in range(12) if slot not in slots.tolist()]
    assert keys[others].isnan().all() and values[others].isnan().all() and query[rows:].isnan().all()
