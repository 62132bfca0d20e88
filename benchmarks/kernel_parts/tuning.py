"""The few ways to cut a kernel's work that are worth a look on a new device: what `shape_of` should say there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

from pie_backend_triton import tiles
from pie_backend_triton.ops import attend, matvec

from kernel_parts.attending import Attending
from kernel_parts.shapes import Run, Shape
from kernel_parts.timing import copies_of, us_of

SETTINGS = {  # calls, context, new, own
    "decode": (32, 4096, 1, -1),
    "prefill": (1, 0, 2048, -1),
    "prefix": (64, 16384, 1, 32),
}
LOW = ((64, 4, 3), (128, 4, 3), (64, 4, 2), (64, 4, 4), (32, 2, 4), (64, 8, 3))  # keys, warps, stages
HIGH = ((64, 4, 3), (64, 4, 2), (32, 4, 3), (64, 8, 3), (128, 8, 2))


def tune(run: Run, shape: Shape) -> Iterator[dict[str, Any]]:
    """Times of each, and nothing else; `attend.shape_of`, `tiles.HEIGHTS` and `matvec.shape_of` are put back."""
    if run.tiny:
        return
    genuine, heights = attend.shape_of, tiles.HEIGHTS
    for kind, setting in SETTINGS.items():
        for height, (keys, warps, stages) in product(
            (64,) if kind == "decode" else (64, 128), LOW if kind == "decode" else HIGH
        ):
            tiles.HEIGHTS = (16, height)
            chosen = {"KEYS": keys, "num_warps": warps, "num_stages": stages}
            attend.shape_of = partial(_shape, genuine, 16 if kind == "decode" else height, chosen)
            yield {"kernel": "attention", "tuned": kind, "height": height} | chosen | _timed(run, shape, setting)
    attend.shape_of, tiles.HEIGHTS = genuine, heights
    for (calls, context), least, spread in product(((1, 1024), (1, 16384), (32, 1024)), (64, 128, 256), (1, 2, 4)):
        one = Attending(run, shape, context, 1, calls, -1, spread, least_split=least)
        cut = {"calls": calls, "context": context, "least_split": least, "spread": spread}
        yield {"kernel": "attention", "tuned": "split"} | cut | {"us": round(us_of([partial(one, 0)], run.device), 2)}
    genuine_matvec = matvec.shape_of
    for name, outs, ins in (
        ("output", shape.hidden, shape.heads * shape.width),
        ("gate_up", 2 * shape.inner, shape.hidden),
    ):
        weights = [run.normal(outs, ins) for _ in range(copies_of(outs * ins * 2, run.device))]
        x = run.normal(1, ins)
        for at_once, lanes, warps in (
            (1, 1024, 4),
            (2, 1024, 4),
            (4, 1024, 4),
            (4, 512, 4),
            (8, 512, 4),
            (8, 256, 4),
            (4, 512, 2),
        ):
            chosen = {"AT_ONCE": at_once, "LANES": lanes, "num_warps": warps}
            matvec.shape_of = lambda *_, chosen=chosen: dict(chosen)
            us = us_of([partial(matvec.matvec, x, weight) for weight in weights], run.device)
            yield (
                {"kernel": "matvec", "tuned": name}
                | chosen
                | {"us": round(us, 2), "roof": round(outs * ins * 2 / us / 1e3 / run.gbps, 3)}
            )
    matvec.shape_of = genuine_matvec


def _shape(genuine: Any, tuned: int, chosen: dict[str, int], height: int, width: int, exact: bool) -> dict[str, int]:
    return dict(chosen) if height == tuned else genuine(min(height, 64), width, exact)


def _timed(run: Run, shape: Shape, setting: tuple[int, int, int, int]) -> dict[str, Any]:
    calls, context, new, own = setting
    try:
        one = Attending(run, shape, context, new, calls, own)
        return {"us": round(us_of([partial(one, 0)], run.device), 2)}
    except Exception as refused:  # of shared memory or registers: told, not fatal
        return {"us": None, "refused": type(refused).__name__}
