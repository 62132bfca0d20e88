"""Kernels over rows of hidden states and of scores, against torch's own functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from pie_backend_torch.ahead import drawing
from pie_backend_torch.ahead.changes import Changes
from pie_backend_torch.building import How
from pie_backend_torch.kernels import Norm
from pie_backend_triton.kernels import TritonKernels
from pie_backend_triton.ops.draw import draw
from pie_backend_triton.ops.matvec import gated_matvec, matvec
from pie_backend_triton.ops.norm import normed
from pie_backend_triton.ops.swiglu import swiglu
from pie_backend_triton.ops.top import top
from pie_backend_triton.tiles import Cutting
from torch.nn import functional

from kernel_parts.shapes import PAGE, Run, Shape, error
from kernel_parts.timing import copies_of, us_of

Row = dict[str, Any]


def rows(run: Run, shape: Shape) -> Iterator[Row]:
    """Norms, activations and products of one row, then what is done to scores, choosing a token included."""
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
        listed = run.pick(256, 20)
        ours, theirs = partial(_ours_top, listed), partial(_top, listed)
        yield {"kernel": "top", "rows": count, "top_k": listed} | compare(
            run, ours, theirs, make, 4 * count * shape.vocab
        )
        yield from chosen(run, count, shape.vocab)


def chosen(run: Run, count: int, vocab: int) -> Iterator[Row]:
    """The most probable token of each row, and one that is drawn: of its scores, plainly and behind biases and
    penalties, and of what `top` lists."""
    ours, how = TritonKernels(Cutting(1, 1, PAGE, 1)), _how(run, count)
    make, nbytes = partial(_scores, run, count, vocab), 4 * count * vocab
    yield {"kernel": "best", "rows": count} | compare(run, ours.best, _best, make, nbytes, differing)
    for name, one in (("scores", how), ("scores, changed", replace(how, changes=_changes(run, count, vocab)))):
        row = compare(run, partial(ours.draw, how=one), partial(_drawn, one), make, nbytes, differing)
        yield {"kernel": "draw", "of": name, "rows": count} | row
    listed = min(drawing.LISTED, vocab)
    listing, nbytes = lambda: _listed(*make(), listed), 4 * count * listed
    row = compare(run, partial(_ours_drawn_of, how), partial(_drawn_of, how), listing, nbytes, differing)
    yield {"kernel": "draw", "of": "listed tokens", "rows": count} | row


def compare(
    run: Run,
    ours: Callable[..., torch.Tensor],
    theirs: Callable[..., torch.Tensor],
    make: Callable[[], tuple[torch.Tensor, ...]],
    nbytes: int,
    wrong: Callable[[torch.Tensor, torch.Tensor], float] = error,
) -> Row:
    """Both over the same inputs, of which `make` makes one; `nbytes` are moved at least. Exact is theirs in float64."""
    inputs = [make() for _ in range(copies_of(nbytes, run.device))]
    us, torch_us = (us_of([partial(side, *one) for one in inputs], run.device) for side in (ours, theirs))
    exact = theirs(*(tensor.double() if tensor.is_floating_point() else tensor for tensor in inputs[0]))
    return {
        "us": round(us, 2),
        "torch_us": round(torch_us, 2),
        "to_torch": round(us / torch_us, 2),
        "roof": run.roof(nbytes, us),
        "error": wrong(ours(*inputs[0]), exact),
        "torch_error": wrong(theirs(*inputs[0]), exact),
    }


def differing(got: torch.Tensor, exact: torch.Tensor) -> float:
    """The share of tokens that are others."""
    return (got != exact).double().mean().item()


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


def _ours_top(count: int, logits: torch.Tensor) -> torch.Tensor:
    return top(logits, count)[1]


def _top(count: int, logits: torch.Tensor) -> torch.Tensor:
    return logits.softmax(-1).topk(count, -1).values


def _how(run: Run, count: int) -> How:
    temperature, top_p, min_p = (
        torch.full((count,), of, dtype=torch.float64, device=run.device) for of in (0.8, 0.95, 0.0)
    )
    top_k, seed = torch.full((count,), 50, device=run.device), torch.arange(count, device=run.device)
    return How(temperature, top_p, min_p, top_k, seed, seed)


def _best(logits: torch.Tensor) -> torch.Tensor:
    return logits.max(-1).indices


def _listed(logits: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    probs, ids = logits.softmax(-1).topk(count, -1)
    return ids, probs


def _drawn(how: How, logits: torch.Tensor) -> torch.Tensor:
    return drawing.draw(logits, how, _listed)


def _changes(run: Run, count: int, vocab: int) -> Changes:
    bias, counts = (torch.randn(count, vocab, device=run.device) for _ in range(2))
    taken = torch.full((count,), 0.5, dtype=torch.float64, device=run.device)
    return Changes(bias, (counts > 2).int(), taken, taken)


def _ours_drawn_of(how: How, ids: torch.Tensor, probs: torch.Tensor) -> torch.Tensor:
    return draw(ids, probs, how.temperature, how.top_k, how.top_p, how.min_p, how.seed, how.number)


def _drawn_of(how: How, ids: torch.Tensor, probs: torch.Tensor) -> torch.Tensor:
    return drawing.draw(probs, how, lambda *_: (ids, probs))
