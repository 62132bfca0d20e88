"""What the kernel before makes is read behind the wait for it: until then it is spoiled here, for every program anew.

On a GPU with programmatic dependent launch an early read would find what was there before, now and then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from pie_backend_torch.building import build_step
from pie_backend_torch.kernels import PLAIN, Norm
from pie_backend_triton.attention import TileAttention
from pie_backend_triton.ops import attend_one, following, matvec
from pie_backend_triton.ops.best import best
from pie_backend_triton.ops.merge import merge
from pie_backend_triton.ops.norm import normed
from pie_backend_triton.ops.query_key_value import query_key_value
from pie_backend_triton.ops.rotary import turn_and_write
from pie_backend_triton.ops.swiglu import swiglu
from pie_backend_triton.tiles import Cutting
from triton.runtime import interpreter

from .conftest import DEVICE
from .worlds import World

pytestmark = pytest.mark.skipif(DEVICE.type != "cpu", reason="hooks into the interpreter")

Made = tuple[torch.Tensor, torch.Tensor | None]
"""A tensor, or the rows of one, that the kernel before writes."""
Case = tuple[Callable[[], torch.Tensor], Sequence[Made]]


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def products() -> Case:
    x, other, weight = numbers(1, 300), numbers(1, 9), numbers(9, 300)
    return lambda: matvec.matvec(x, weight, None, other, Norm(numbers(300), 1e-5)), [(x, None), (other, None)]


def gated_products() -> Case:
    x, weight = numbers(1, 300), numbers(10, 300) / 20
    return lambda: matvec.gated_matvec(x, weight), [(x, None)]


def first_products() -> Case:
    x, weight, turn = numbers(1, 70), numbers(4 * 8, 70), numbers(1, 1, 8)
    keys, values = numbers(3, 1, 8), numbers(3, 1, 8)

    def run() -> torch.Tensor:
        query = torch.zeros(1, 2, 8)
        query_key_value(x, Norm(numbers(70), 1e-5), weight, None, turn, turn, torch.tensor([1]), query, keys, values)
        return torch.cat([query.flatten(), keys[1].flatten(), values[1].flatten()])

    return run, [(x, None)]


def norms() -> Case:
    x = numbers(3, 70)
    return lambda: normed(x, Norm(numbers(70), 1e-5)), [(x, None)]


def turns() -> Case:
    joined, turn, keys, values = numbers(2, 4, 8), numbers(2, 1, 8), numbers(5, 1, 8), numbers(5, 1, 8)

    def run() -> torch.Tensor:
        query = torch.zeros(2, 2, 8)
        turn_and_write(joined, turn, turn, None, torch.tensor([1, 3]), query, keys, values)
        return torch.cat([query.flatten(), keys.flatten(), values.flatten()])

    return run, [(joined, None)]


def activations() -> Case:
    joined = numbers(2, 60)
    return lambda: swiglu(joined), [(joined, None)]


def choices() -> Case:
    logits = numbers(2, 5000)
    return lambda: best(logits), [(logits, None)]


def merges() -> Case:
    parts, sums, starts = numbers(4, 2, 8), numbers(4, 2), torch.tensor([0, 2, 4])

    def run() -> torch.Tensor:
        out = torch.zeros(2, 2, 8)
        merge(torch.tensor([0, 1]), starts, torch.arange(4), parts, sums, out)
        return out

    return run, [(parts, None), (sums, None)]


def attention(programs: int) -> Case:
    world = World(8, 2, 64, 16, torch.float32)
    for context in (40, 5, 70):
        world.call(world.chain(context), context, 1)
    query, key, value = world.new_tokens()
    new = torch.tensor([slot for span in world.spans for slot in span.slots])
    step = build_step(TileAttention(Cutting(4, 2, 16, programs)), world.spans, 16, DEVICE)

    def run() -> torch.Tensor:
        step.place(world.pool)
        return step.plan.attend(world.pool, 0, query, key, value, PLAIN)

    return run, [(query, None), (world.pool.keys[0], new), (world.pool.values[0], new)]


CASES = {
    "products": products,
    "gated products": gated_products,
    "queries, keys and values": first_products,
    "norms": norms,
    "turns": turns,
    "activations": activations,
    "choices": choices,
    "merges": merges,
    "attention": lambda: attention(1),
    "attention of a step of few": lambda: attention(4000),
}


@pytest.mark.parametrize("case", CASES)
def test_what_the_kernel_before_makes_is_read_behind_the_wait(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, made = CASES[case]()
    wanted = run().clone()
    kept = [tensor.clone() if rows is None else tensor[rows] for tensor, rows in made]
    waits = []

    def spoil() -> None:
        for tensor, rows in made:
            tensor[slice(None) if rows is None else rows] = float("nan")

    def wait(FOLLOWS: Any) -> None:
        waits.append(FOLLOWS)
        for (tensor, rows), one in zip(made, kept, strict=True):
            tensor[slice(None) if rows is None else rows] = one

    begin = interpreter.interpreter_builder.set_grid_idx
    monkeypatch.setattr(interpreter.interpreter_builder, "set_grid_idx", lambda *place: (spoil(), begin(*place))[1])
    for module in (following, matvec, attend_one):
        monkeypatch.setattr(module, "wait", wait)
    assert torch.equal(run(), wanted) and waits
