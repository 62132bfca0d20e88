"""The ways to cut work that are worth a look on a new device: what `shape_of` and `Cutting` should say there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any

import torch
from pie_backend_triton.ops import attend
from pie_backend_triton.tiles import FIELDS, HEIGHTS

from kernel_parts.attending import Attending
from kernel_parts.shapes import PAGE, Run, Shape, error
from kernel_parts.timing import copies_of, us_of

SETTINGS = {  # calls, context, new, own
    "prefix": (64, 16384, 1, 32),
    "prefill": (1, 0, 2048, -1),
    "many": (32, 1024, 1, -1),
}
TINY = {"prefix": (10, 128, 1, 3)}
HIGHER = ("prefill", "prefix")  # whose time is that of high tiles
LOW = (  # slots in one go of the plain loop and the careful, warps, stages, and registers at the most
    (128, 128, 4, 5),
    (128, 128, 4, 3),
    (64, 64, 4, 5),
    (64, 64, 2, 5),
    (32, 32, 2, 5),
    (128, 128, 8, 5),
)
HIGH = {  # of the heights of high tiles
    64: ((64, 32, 4, 5), (64, 64, 4, 5), (128, 32, 4, 5)),
    128: ((64, 32, 8, 5), (64, 32, 8, 5, 128), (128, 32, 8, 5), (64, 32, 4, 5), (128, 32, 4, 3)),
    256: ((64, 32, 8, 5), (64, 32, 16, 5), (128, 32, 8, 5)),
}
SPLITS = tuple(  # least tokens of a tile, programs for each multiprocessor
    {"least_split": least, "spread": spread} for least, spread in product((64, 128, 256), (1, 2))
)
SPREADS = tuple({"spread": spread} for spread in (1, 2, 3, 4))
Setting = tuple[int, int, int, int]


@dataclass(frozen=True)
class Variant:
    """One way: how tiles of a height are computed, and how they are cut."""

    height: int
    shape: tuple[int, ...]
    cut: dict[str, int] = field(default_factory=dict, compare=False)

    @property
    def chosen(self) -> dict[str, int]:
        names = ("KEYS", "CAREFUL", "num_warps", "num_stages", "maxnreg")
        fixed = {"CAREFUL_STAGES": 1, "AHEAD": self.height == HEIGHTS[0]}
        return fixed | dict(zip(names, self.shape, strict=False))

    @property
    def row(self) -> dict[str, Any]:
        return {"height": self.height} | self.chosen | self.cut


AT: ContextVar[Variant | None] = ContextVar("AT", default=None)


def tune(run: Run, shape: Shape) -> Iterator[dict[str, Any]]:
    """Attention: first each shape of a tile, then, of the quickest, each way to cut. `attend.shape_of` is put back."""
    low = [Variant(HEIGHTS[0], one) for one in LOW]
    high = [Variant(height, one) for height, ones in HIGH.items() for one in ones]
    with _sweeping():
        _compile(run, shape, run.pick([*low, *high], low[:1]))
        for kind, setting in run.pick(SETTINGS, TINY).items():
            variants, cuts = (high, SPREADS) if kind in HIGHER else (low, SPLITS)
            yield from _tuned(run, shape, kind, setting, run.pick(variants, variants[:1]), run.pick(cuts, cuts[:1]))
        AT.set(None)


def _tuned(
    run: Run, shape: Shape, kind: str, setting: Setting, variants: Sequence[Variant], cuts: Sequence[dict[str, int]]
) -> Iterator[dict[str, Any]]:
    sides = _sides(run, shape, setting)
    exact = sides[0].exact()
    found = {}
    for variant in variants:
        row = _timed(run, shape, setting, sides, exact, variant)
        yield {"kernel": "attention", "tuned": kind} | variant.row | row
        found[variant] = row["us"] or float("inf")
    best = min(found, key=lambda one: found[one])
    for cut in cuts:
        variant = replace(best, cut=cut)
        row = _timed(run, shape, setting, sides, exact, variant)
        yield {"kernel": "attention", "tuned": kind} | variant.row | row
    yield {"kernel": "survey", "tuned": kind} | _surveyed(run, sides[0])


def _sides(run: Run, shape: Shape, setting: Setting) -> list[Attending]:
    calls, context, new, own = setting
    return [
        Attending(run, shape, context, new, calls, own)
        for _ in range(min(16, copies_of(shape.kv_numbers(*setting) * run.dtype.itemsize, run.device)))
    ]


def _flops(shape: Shape, setting: Setting) -> int:
    calls, context, new, own = setting
    seen = calls * (new * (context + max(own, 0)) + new * (new + 1) // 2)
    return 4 * seen * shape.heads * shape.width


def _timed(
    run: Run,
    shape: Shape,
    setting: Setting,
    sides: Sequence[Attending],
    exact: torch.Tensor,
    variant: Variant,
) -> dict[str, Any]:
    """Its time; where it does not fit, of shared memory or registers, that is told, and not fatal."""
    try:
        AT.set(variant)
        for side in sides:
            side.cut(heights=tuple(sorted({HEIGHTS[0], variant.height})), **variant.cut)
        us = us_of([partial(side, 0) for side in sides], run.device)
        wrong = error(sides[0](0), exact)
    except Exception as refused:
        return {"us": None, "refused": f"{type(refused).__name__}: {refused}"[:100]}
    return {
        "us": round(us, 2),
        "tflops": round(_flops(shape, setting) / us / 1e6, 1),
        "gbps": round(shape.kv_numbers(*setting) * run.dtype.itemsize / us / 1e3, 1),
        "error": wrong,
    }


def _surveyed(run: Run, side: Attending) -> dict[str, Any]:
    """What looking at the tiles costs, once for a pass: attending after it less attending without."""

    def anew() -> None:
        side.place()
        side(0)

    return {"us": round(us_of([anew], run.device) - us_of([partial(side, 0)], run.device), 2)}


@contextmanager
def _sweeping() -> Iterator[None]:
    """Tiles are computed as the variant says that a thread is at."""
    genuine = attend.shape_of

    def shape_of(height: int, width: int, exact: bool, masked: bool) -> dict[str, int]:
        variant = AT.get()
        mine = variant is not None and height == variant.height and not exact
        return dict(variant.chosen) if mine else genuine(height, width, exact, masked)

    attend.shape_of = shape_of
    try:
        yield
    finally:
        attend.shape_of = genuine


def _compile(run: Run, shape: Shape, variants: Sequence[Variant]) -> None:
    """Have all kernels compiled at once, by launching each over a tile without rows."""
    query = run.normal(1, shape.heads, shape.width)
    kept = run.normal(PAGE, shape.kv_heads, shape.width)
    none = torch.zeros(1, FIELDS, dtype=torch.int64, device=run.device)
    bounds, floats = none.int(), none.float()

    def launch(variant: Variant) -> None:
        AT.set(variant)
        attend.attend(
            query,
            *(kept, kept),
            *(none, none, none, none, none, none, none),
            *(bounds, query, floats, floats),
            height=variant.height,
            page_size=PAGE,
            masked=False,
            window=None,
            scale=1.0,
        )

    with ThreadPoolExecutor(1 if run.tiny else 16) as threads:  # one that does not fit is told when it is timed
        for variant in variants:
            threads.submit(launch, variant)
