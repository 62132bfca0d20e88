"""Who sees whom, bit by bit, for calls that FlashInfer's own causality does not fit.

Explicit masks, holes between the slots, tokens whose positions do not rise, and those of whose positions the host knows
nothing: these are read on the device, so that the host need not wait for them. Such calls look at single slots, at
their live ones only, so that nothing is read that was not written.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pie_backend_torch.flash.calls import Call
from pie_backend_torch.flash.tables import Tables, slot_tables
from pie_backend_torch.pool import KvPool
from pie_backend_torch.step import Ints, live_slots
from pie_backend_torch.upload import upload

MOST_BITS = 1 << 26  # of one pass, all calls as wide as the widest


class Masks:
    """The masked calls of a pass. Their slots are padded to whole bytes by repeating the call's own first new one.

    `bits(...)` is [sum of rows * slots] bytes: those of a call begin at the number of *bits* of the calls before it, a
    row in slots / 8 bytes, low bit first, and what follows up to the next call is not read. (FlashInfer 0.7 takes its
    offsets of packed masks so; the self-check at load would tell if another version did not.)
    """

    def __init__(self, calls: Sequence[Call], size: int) -> None:
        spans = [call.span for call in calls]
        context, lengths = live_slots(spans, size)
        self._counts = np.array([call.count for call in calls])
        self._lengths = lengths + self._counts
        self._slots = [
            np.concatenate([seen, span.slots, np.full(-(len(seen) + len(span.slots)) % 8, span.slots[0])])
            for seen, span in zip(np.split(context, np.cumsum(lengths)[:-1]), spans, strict=True)
        ]
        self._calls = calls
        self._widths = np.array([len(slots) for slots in self._slots])
        self.tables: Tables = slot_tables(
            self._counts.tolist(), self._widths.tolist(), np.concatenate(self._slots).astype(np.int64)
        )

    def place(self, rows: Tensor, positions: Tensor, pool: KvPool) -> None:
        """rows: of these calls' tokens in the pass, which stand at `positions` [tokens]."""
        device, widest, total = rows.device, int(self._widths.max()), int((self._counts * self._widths).sum())
        slots = np.stack([np.pad(one, (0, widest - len(one)), mode="edge") for one in self._slots])
        owner = np.repeat(np.arange(len(self._calls)), self._counts)
        within = np.concatenate([np.arange(count) for count in self._counts])
        before = np.cumsum(self._counts * self._widths) - self._counts * self._widths
        first_byte = before[owner] + within * (self._widths[owner] // 8)
        pieces: list[Ints] = [slots.reshape(-1), owner, self._lengths[owner], first_byte, self._widths[owner] // 8]
        block = upload(torch.from_numpy(np.concatenate(pieces).astype(np.int64)), device)
        parts = torch.split(block, [len(piece) for piece in pieces])
        self._keys = pool.positions.index_select(0, parts[0]).view(len(self._calls), widest).index_select(0, parts[1])
        self._asked = positions.index_select(0, rows)[:, None]
        self._columns = torch.arange(widest, device=device)
        self._real = self._columns < parts[2][:, None]
        offsets = torch.arange(widest // 8, device=device)
        targets = torch.where(offsets < parts[4][:, None], parts[3][:, None] + offsets, total)
        self._targets, self._total = targets.view(-1), total
        self._explicit = self._given(widest, owner, device)

    def _given(self, widest: int, owner: Ints, device: torch.device) -> tuple[Tensor, Tensor] | None:
        """Which rows have an explicit mask, [rows, 1], and those masks, [rows, slots]."""
        masked = np.array([call.span.mask is not None for call in self._calls])
        if not masked.any():
            return None
        shown = np.zeros((len(owner), widest), dtype=bool)
        at = 0
        for call in self._calls:
            if call.span.mask is not None:
                shown[at : at + call.count, : call.span.mask.shape[1]] = call.span.mask
            at += call.count
        both = upload(torch.from_numpy(np.concatenate([masked[owner][:, None], shown], 1)), device)
        return both[:, :1], both[:, 1:]

    def bits(self, window: int | None) -> Tensor:
        """The packed masks. An explicit one replaces the window."""
        visible = (self._keys <= self._asked) & self._real
        if window is not None:
            visible &= self._asked - self._keys < window
        if self._explicit is not None:
            visible = torch.where(self._explicit[0], self._explicit[1], visible)
        weights = (1 << torch.arange(8, device=visible.device)).to(torch.uint8)
        packed = (visible.view(visible.shape[0], -1, 8) * weights).sum(-1, dtype=torch.uint8)
        bits = torch.zeros(self._total + 1, dtype=torch.uint8, device=visible.device)
        return bits.scatter_(0, self._targets, packed.view(-1))[: self._total]


def too_many(calls: Sequence[Call]) -> bool:
    """Whether the masks of these calls would take too much memory."""
    widest = max((sum(bits.bit_count() for bits in call.span.live) + call.count for call in calls), default=0)
    return sum(call.count for call in calls) * widest > MOST_BITS
