"""How products of a single row are best cut on a device: found where it counts, in a whole decode step.

One kind of product after the other (gate and up; down; head; queries, keys and values; output) takes the shape with
which the step is quickest, the others as they are by then: a kernel's tail is hidden by the one that follows, so what
is quickest alone need not be. Compiled beforehand, by several processes, into Triton's cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch
from pie_backend_torch.kernels import Norm
from pie_backend_triton.ops import matvec, query_key_value

from kernel_parts.shapes import Run, Shape
from kernel_parts.stepping import Model

CONTEXT = 128
Cut = dict[str, int]
PLAIN = (  # rows of the weight in one program, columns at a time, warps, and registers at the most
    (1, 1024, 4),
    (1, 2048, 4),
    (2, 1024, 2),
    (2, 1024, 4),
    (2, 2048, 4),
    (2, 2048, 8),
    (4, 512, 4),
    (4, 1024, 4),
    (4, 1024, 4, 64),
    (4, 1024, 8),
    (4, 2048, 8),
    (8, 512, 4),
    (8, 512, 8),
    (1, 4096, 8),
    (2, 4096, 8),
)
PAIRED = (
    (1, 2048, 4),
    (1, 2048, 4, 64),
    (2, 512, 2),
    (2, 1024, 4),
    (2, 2048, 4),
    (2, 2048, 8),
    (4, 512, 2),
    (4, 512, 4),
    (4, 512, 4, 64),
    (4, 1024, 4),
    (4, 1024, 8),
    (8, 256, 4),
    (8, 512, 8),
    (1, 4096, 4),
    (1, 4096, 8),
    (2, 4096, 8),
)
ROUNDS = 2


@dataclass(frozen=True)
class Product:
    """A kind of product of a model. outs: of a gated one, its results."""

    name: str
    outs: int
    ins: int

    def cuts(self) -> list[Cut]:
        """Shapes that are worth a look."""
        listed = PAIRED if self.name in ("gate_up", "query_key_value") else PLAIN
        names = ("AT_ONCE", "LANES", "num_warps", "maxnreg")
        return [dict(zip(names, one, strict=False)) for one in listed if one[1] < 2 * self.ins]


class Shapes:
    """Takes the place of `shape_of` of the two files: what is chosen, and theirs where nothing is."""

    def __init__(self, products: Sequence[Product]) -> None:
        self.chosen: dict[str, Cut] = {}
        self._names = {(one.outs, one.ins, one.name == "gate_up"): one.name for one in products}
        self._genuine = matvec.shape_of, query_key_value.shape_of
        matvec.shape_of = self._of
        query_key_value.shape_of = lambda: self.chosen.get("query_key_value") or self._genuine[1]()

    def _of(self, outs: int, ins: int, gated: bool) -> Cut:
        return self.chosen.get(self._names.get((outs, ins, gated), "")) or self._genuine[0](outs, ins, gated)

    def close(self) -> None:
        """Put theirs back."""
        matvec.shape_of, query_key_value.shape_of = self._genuine


def shaping(run: Run, shape: Shape) -> Iterator[dict[str, Any]]:
    """Times of a step with each shape, and those that were chosen."""
    if run.tiny:
        return
    products = products_of(shape)
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        jobs = [(one, cut) for one in products for cut in one.cuts()]
        list(pool.map(partial(launch, run, shape), jobs, chunksize=2))
    timed = partial(Model(run, shape, "triton").step_us, 1, CONTEXT, -1)
    shapes = Shapes(products)
    try:
        best = timed()
        yield {"kernel": "step", "tuned": "as it is", "us": round(best, 1)}
        for product in products * ROUNDS:
            before = shapes.chosen.copy()
            for cut in product.cuts():
                shapes.chosen[product.name] = cut
                us = _or_none(timed)
                yield {"kernel": "step", "tuned": product.name, "us": us} | cut
                if us is not None and us < best:
                    best, before = us, shapes.chosen.copy()
            shapes.chosen = before
        yield {"kernel": "step", "tuned": "chosen", "us": best, "shapes": shapes.chosen}
    finally:
        shapes.close()


def products_of(shape: Shape) -> list[Product]:
    """Of a model, the largest first."""
    wide = (shape.heads + 2 * shape.kv_heads) * shape.width
    return [
        Product("gate_up", shape.inner, shape.hidden),
        Product("down", shape.hidden, shape.inner),
        Product("head", shape.vocab, shape.hidden),
        Product("query_key_value", wide, shape.hidden),
        Product("output", shape.hidden, shape.heads * shape.width),
    ]


def launch(run: Run, shape: Shape, job: tuple[Product, Cut]) -> None:
    """Run a product in a shape, so that it is compiled."""
    product, cut = job
    shapes = Shapes([product])
    shapes.chosen[product.name] = cut
    try:
        with torch.inference_mode():
            _run(run, shape, product)
    except Exception as refused:  # of shared memory or registers: told where it is timed, too
        print(f"{product} {cut}: {type(refused).__name__}", flush=True)
    finally:
        shapes.close()


def _run(run: Run, shape: Shape, product: Product) -> None:
    name, x, norm = product.name, run.normal(1, product.ins), Norm(run.normal(product.ins), 1e-5)
    rows = product.outs * (2 if name == "gate_up" else 1)
    weight = torch.empty(rows, product.ins, dtype=run.dtype, device=run.device)
    if name == "gate_up":
        matvec.gated_matvec(x, weight, None, norm)
    elif name == "query_key_value":
        pool = run.normal(2, shape.kv_heads, shape.width)
        turn, query = run.normal(1, shape.width), run.normal(1, shape.heads, shape.width)
        slots = torch.zeros(1, dtype=torch.int64, device=run.device)
        query_key_value.query_key_value(x, norm, weight, None, turn, turn, slots, query, pool, pool)
    elif name == "head":
        matvec.matvec(x, weight, dtype=torch.float32)
    else:
        matvec.matvec(x, weight, other=run.normal(1, product.outs))


def _or_none(timed: Any) -> float | None:
    try:
        return round(timed(), 1)
    except Exception as refused:
        print(f"refused: {type(refused).__name__}", flush=True)
        return None
