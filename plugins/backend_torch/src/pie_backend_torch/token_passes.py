"""Passes of `forward` that bring one token for each call, as programs that draw token by token ask for them.

Where the attention plans such calls in shapes of their own (`kernels.PlansSteps`), a pass launches what the numbers of
calls and of pages say, rounded up to powers of two, whatever the calls are. So on a GPU a shape that comes again is
captured: one launch instead of hundreds, which take Python several times as long as they take the GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from pie_traits_text.forward import Forward, ForwardWithAdapter
from torch import Tensor

from pie_backend_torch.backend import TorchBackend
from pie_backend_torch.kernels import AttentionPlan, PlansSteps, Room, power_of_two
from pie_backend_torch.step import Ints, Step
from pie_backend_torch.upload import upload

MOST_CALLS = 256  # more keep a GPU busy without being captured
_CAPTURED_AT = 3  # times that a shape came up: capturing takes as long as dozens of passes


class TokenPasses:
    """Those of one backend. Device thread."""

    def __init__(self, backend: TorchBackend, attention: PlansSteps) -> None:
        self._backend, self._attention = backend, attention
        pool = backend.pool
        page = np.array([pool.scratch_slot // pool.page_size])
        self._padding: Any = attention.look(page, np.ones(1, dtype=np.int64), pool.scratch_slot, 0)
        self._passes: dict[Room, _Pass] = {}

    def takes(self, batch: Sequence[Forward | ForwardWithAdapter]) -> bool:
        """Whether `run` can run these commands."""
        return (
            len(batch) <= MOST_CALLS
            and self._backend.places is None
            and all(len(one.iemb) == 1 and one.mask is None and one.adapter is None for one in batch)
        )

    @torch.inference_mode()
    def run(self, batch: Sequence[Forward | ForwardWithAdapter]) -> None:
        """As `handlers.forward.run_pass`."""
        backend, scratch = self._backend, self._backend.scratch_embed
        calls = power_of_two(len(batch))
        padding = calls - len(batch)
        slots = [one.okv[place].index * backend.pool.page_size + at for one in batch for place, at in one.slots]
        looks, pages = [self._padding] * calls, padding
        for at, one in enumerate(batch):
            shown, live = _shown(one)
            looks[at] = self._attention.look(shown, live, slots[at], one.positions[0])
            pages += len(shown)
        room = Room.holding(calls, pages)
        plan = self._attention.plan_steps(looks, room)
        own = (
            [one.iemb[0].index for one in batch] + [scratch] * padding,
            [one.oemb[0].index if one.oemb else scratch for one in batch] + [scratch] * padding,
            [one.positions[0] for one in batch] + [0] * padding,
            slots + [backend.pool.scratch_slot] * padding,
        )
        arrays = [*np.array(own, dtype=np.int64), *plan.arrays]
        block = upload(torch.from_numpy(np.concatenate(arrays)), backend.decoder.device)
        known = self._passes.get(room)
        if known is None:
            known = self._passes[room] = _Pass(backend, plan, [len(array) for array in arrays], block)
        else:
            known.block.copy_(block)
        known.run()


class _Pass:
    """One shape. block: all arrays in one tensor on the device; what is written there is what runs. Those are, for each
    call: the Embeds that are read and written, position and slot of the token; then those of the attention."""

    def __init__(self, backend: TorchBackend, plan: AttentionPlan, lengths: Sequence[int], block: Tensor) -> None:
        self.block = block
        read, written, positions, slots, *others = torch.split(block, list(lengths))
        plan.receive(others, backend.decoder.device)
        self._backend, self._read, self._written = backend, read, written
        self._step = Step(len(read), backend.decoder.max_position - 1, positions, slots, plan, [])
        self._launch: Callable[[], object] = self._compute
        self._times = 0

    def run(self) -> None:
        self._times += 1
        if self._times == _CAPTURED_AT and self._backend.graphs.possible:
            self._launch = self._backend.graphs.record(self._compute)
        self._launch()

    def _compute(self) -> None:
        backend = self._backend
        self._step.place(backend.pool)
        hidden = backend.decoder.hidden(backend.embeds.index_select(0, self._read), self._step, backend.pool)
        backend.embeds.index_copy_(0, self._written, hidden)


def _shown(command: Forward | ForwardWithAdapter) -> tuple[Ints, Ints]:
    """Pages that a call of one token sees, with the bits of their slots, that of the token among them."""
    ((place, offset),) = command.slots
    own = command.okv[place]
    bits = {page.index: live for page, live in zip(command.ikv, command.live, strict=True) if live}
    bits[own.index] = bits.get(own.index, 0) | 1 << offset
    count = len(bits)
    return np.fromiter(bits, np.int64, count), np.fromiter(bits.values(), np.int64, count)
