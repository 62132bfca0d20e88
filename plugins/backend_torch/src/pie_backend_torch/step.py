"""A batch of forward calls as index tensors: built on the host in one go, moved in one copy, shared by all layers.

How the calls attend is planned by the attention that will run (`kernels.Attention`); its indices travel along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pie_backend_torch.pool import KvPool
from pie_backend_torch.upload import upload

if TYPE_CHECKING:
    from pie_backend_torch.kernels import Attention, AttentionPlan

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Span:
    """One forward call, in physical terms."""

    pages: Sequence[int]  # context pages
    live: Sequence[int]  # for each of them, the bit mask of the slots that are context
    slots: Sequence[int]  # for each new token, the slot its key and value go to
    positions: Sequence[int]  # for each new token
    mask: Bools | None = None  # [tokens, live context tokens + tokens]; replaces causality by position


@dataclass(slots=True)
class Step:
    """What one pass over the model needs to know. `extra` are the caller's own indices, moved in the same copy."""

    count: int  # tokens
    highest: int  # position
    positions: Tensor  # [tokens]
    slots: Tensor  # [tokens]
    plan: AttentionPlan
    extra: list[Tensor]
    orders: Tensor | None = None  # [tokens], in models that have them
    axes: Tensor | None = None  # [tokens, axes] rotary positions, in models that have several

    def place(self, pool: KvPool) -> None:
        """Write the new tokens' positions to the pool and read those of every context. Once, before the layers."""
        pool.positions.index_copy_(0, self.slots, self.positions)
        if pool.orders is not None:
            assert self.orders is not None
            pool.orders.index_copy_(0, self.slots, self.orders)
        self.plan.place(self, pool)


def build_step(
    attention: Attention,
    spans: Sequence[Span],
    page_size: int,
    device: torch.device,
    extra: Sequence[Sequence[int]] = (),
    ordered: bool = False,
) -> Step:
    """Index tensors of a batch of calls. Cost: some 100 us a batch and a few us a call.

    ordered: positions do not tell who sees whom, so that orders are needed (`Step.orders`) before it is placed.
    """
    slots = np.array(list(chain.from_iterable([span.slots for span in spans])), dtype=np.int64)
    positions = np.array(list(chain.from_iterable([span.positions for span in spans])), dtype=np.int64)
    plan = attention.plan(spans, page_size, ordered)
    pieces = [positions, slots, *(np.array(piece, dtype=np.int64) for piece in extra), *plan.arrays]
    tensors = _upload(pieces, device)
    own = 2 + len(extra)
    plan.receive(tensors[own:], device)
    return Step(len(slots), int(positions.max()), tensors[0], tensors[1], plan, tensors[2:own])


def live_slots(spans: Sequence[Span], page_size: int) -> tuple[Ints, Ints]:
    """Slots of all context tokens, call after call, and how many each call has."""
    pages = np.array(list(chain.from_iterable([span.pages for span in spans])), dtype=np.int64)
    live = np.array(list(chain.from_iterable([span.live for span in spans])), dtype=np.int64)
    page, offset = np.nonzero((live[:, None] >> np.arange(page_size)) & 1)
    owner = np.repeat(np.arange(len(spans)), [len(span.pages) for span in spans])
    return pages[page] * page_size + offset, np.bincount(owner[page], minlength=len(spans)).astype(np.int64)


def ranges(starts: Ints, counts: Ints) -> Ints:
    """start, start + 1, ... `count` of them, for each pair."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    ranges: Ints = np.arange(total) + np.repeat(starts - (ends - counts), counts)
    return ranges


def _upload(pieces: list[Ints], device: torch.device) -> list[Tensor]:
    """The arrays as tensors on the device, by one copy."""
    joined: Any = upload(torch.from_numpy(np.concatenate(pieces)), device)
    return list(torch.split(joined, [len(piece) for piece in pieces]))
