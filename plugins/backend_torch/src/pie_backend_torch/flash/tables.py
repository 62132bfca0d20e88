"""Calls as FlashInfer wants them, and the seam to it: what is launched, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pie_backend_torch.flash.calls import Call
from pie_backend_torch.step import Ints


@dataclass(frozen=True, slots=True)
class Tables:
    """Calls and the pages that each looks at, in FlashInfer's form.

    A call's keys are the slots of its pages, in order, of the last page the first `lasts` only. Its queries are the
    last of them, and see what is not behind them (`causal`), or what the mask shows, or everything.
    """

    queries: Ints  # [calls + 1] where each call's rows begin, and all end
    starts: Ints  # [calls + 1] the same of its pages
    pages: Ints
    lasts: Ints  # [calls] slots of the last page
    size: int  # slots of a page
    causal: bool


@dataclass(frozen=True, slots=True)
class Variant:
    """What a layer asks for. heads and width as in `kernels.Attention`; the rest as in `kernels.Flavour`."""

    heads: int
    kv_heads: int
    width: int
    dtype: torch.dtype
    scale: float | None
    window: int | None
    softcap: float | None


class Launch(Protocol):
    """Planned; run by every layer that asks for the same."""

    def run(self, query: Tensor, keys: Tensor, values: Tensor, out: Tensor, weigh: bool) -> Tensor | None:
        """query, out [rows, heads, width]; keys and values [pages, slots, kv heads, width] of a layer.

        weigh: also return the sums of the exponentials, [rows, heads] float32, as logarithms to base 2.
        """


class Engine(Protocol):
    """FlashInfer, or what tests put in its place."""

    def begin(self) -> None:
        """A new pass is planned; nothing of the one before is run any more."""

    def plan(self, tables: Tables, variant: Variant, mask: Tensor | None) -> Launch:
        """mask: see `masks.Masks`; of page size 1."""

    def merge(self, out: Tensor, weight: Tensor, other: Tensor, other_weight: Tensor) -> None:
        """Put into `out` what comes of attending to both; what `run` returned for each."""


def tables_of(calls: Sequence[Call], size: int, skipped: Sequence[int]) -> Tables:
    """The tables of regular calls. skipped: of each, pages at the bottom to leave out."""
    left = [call.pages[skip:] for call, skip in zip(calls, skipped, strict=True)]
    lasts: Ints = np.array([(call.length - 1) % size + 1 for call in calls], dtype=np.int64)
    return Tables(_starts([call.count for call in calls]), *_joined(left), lasts, size, causal=True)


def prefix_tables(prefixes: Sequence[Ints], calls: Sequence[int], size: int) -> Tables:
    """Full pages that many calls of one token share: `calls` rows over each."""
    lasts: Ints = np.full(len(prefixes), size, dtype=np.int64)
    return Tables(_starts(calls), *_joined(prefixes), lasts, size, causal=False)


def slot_tables(queries: Sequence[int], lengths: Sequence[int], slots: Ints) -> Tables:
    """Calls that look at single slots, `lengths` of each, as pages of one."""
    ones: Ints = np.ones(len(queries), dtype=np.int64)
    return Tables(_starts(queries), _starts(lengths), slots, ones, 1, causal=False)


def _starts(counts: Sequence[int]) -> Ints:
    return np.cumsum([0, *counts], dtype=np.int64)


def _joined(parts: Sequence[Ints]) -> tuple[Ints, Ints]:
    return _starts([len(part) for part in parts]), np.concatenate(parts)
