"""Kernels over rows of hidden states and scores, against torch's own functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from pie_backend_torch.kernels import Norm
from pie_backend_triton.ops.matvec import gated_matvec, matvec
from pie_backend_triton.ops.norm import normed
from pie_backend_triton.ops.softmax import log_softmax
from pie_backend_triton.ops.swiglu import swiglu
from pie_backend_triton.ops.top import top
from torch.nn import functional

from kernel_parts.shapes import Run, Shape, error
from kernel_parts.timing import copies_of, us_of

Row = dict[str, Any]


def rows(run: Run, shape: Shape) -> Iterator[Row]:
    """Norms, activations and products of one row, then what is done to scores."""
    size, hidden, inner = run.dtype.itemsize, shape.hidden, shape.inner
    for count in run.pick((1, 32, 2048), (3,)):
        make = partial(_normal, run, (count, hidden), (hidden,))
        yield {"kernel": "norm", "rows": count} | compare(run, _ours_normed, _normed, make, 2 * count * hidden * size)
        make = partial(_normal, run, (count, 2 * inner))
        yield {"kernel": "swiglu", "rows": count} | compare(run, swiglu, _gated, make, 3 * count * inner * size)
    for name, outs, ins in (
        ("query_key_value", (shape.heads + 2 * shape.kv_heads) * shape.width, hidden),
        ("output", hidden, shape.heads * shape.width),
        ("down", hidden, inner),
        ("head", shape.vocab, hidden),
    ):
        make = partial(_normal, run, (1, ins), (outs, ins), scale=ins**-0.5)
        yield {"kernel": "matvec", "weight": name} | compare(run, matvec, functional.linear, make, outs * ins * size)
    make = partial(_normal, run, (1, hidden), (2 * inner, hidden), (hidden,), scale=hidden**-0.25)
    row = compare(run, _ours_normed_and_gated, _normed_and_gated, make, 2 * inner * hidden * size)
    yield {"kernel": "matvec", "weight": "norm, gate_up, silu"} | row
    for count in run.pick((1, 32, 128), (2,)):
        make = partial(_scores, run, count, shape.vocab)
        row = compare(run, log_softmax, _log_softmax, make, 8 * count * shape.vocab)
        yield {"kernel": "log_softmax", "rows": count} | row
        listed = run.pick(256, 20)
        ours, theirs = partial(_ours_top, listed), partial(_top, listed)
        yield {"kernel": "top", "rows": count, "top_k": listed} | compare(
            run, ours, theirs, make, 4 * count * shape.vocab
        )


def compare(
    run: Run,
    ours: Callable[..., torch.Tensor],
    theirs: Callable[..., torch.Tensor],
    make: Callable[[], tuple[torch.Tensor, ...]],
    nbytes: int,
) -> Row:
    """Both over the same inputs, of which `make` makes one; `nbytes` are moved at least. Exact is theirs in float64."""
    inputs = [make() for _ in range(copies_of(nbytes, run.device))]
    us, torch_us = (us_of([partial(side, *one) for one in inputs], run.device) for side in (ours, theirs))
    exact = theirs(*(tensor.double() for tensor in inputs[0]))
    return {
        "us": round(us, 2),
        "torch_us": round(torch_us, 2),
        "to_torch": round(us / torch_us, 2),
        "roof": run.roof(nbytes, us),
        "error": error(ours(*inputs[0]), exact),
        "torch_error": error(theirs(*inputs[0]), exact),
    }


def _normal(run: Run, *shapes: tuple[int, ...], scale: float = 1.0) -> tuple[torch.Tensor, ...]:
    return tuple(run.normal(*shape, scale=scale) for shape in shapes)


def _scores(run: Run, count: int, vocab: int) -> tuple[torch.Tensor]:
    return (torch.randn(count, vocab, device=run.device) * 4,)


def _ours_normed(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return normed(x, Norm(weight, 1e-5))


def _normed(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return functional.rms_norm(x, weight.shape, weight, 1e-5)


def _gated(joined: torch.Tensor) -> torch.Tensor:
    gate, up = joined.chunk(2, 1)
    return functional.silu(gate) * up


def _ours_normed_and_gated(x: torch.Tensor, weight: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    return gated_matvec(x, weight, None, Norm(gain, 1e-5))


def _normed_and_gated(x: torch.Tensor, weight: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    return _gated(functional.linear(_normed(x, gain), weight))


def _log_softmax(logits: torch.Tensor) -> torch.Tensor:
    return logits.log_softmax(-1)


def _ours_top(count: int, logits: torch.Tensor) -> torch.Tensor:
    return top(logits, count)[1]


def _top(count: int, logits: torch.Tensor) -> torch.Tensor:
    return logits.softmax(-1).topk(count, -1).values
