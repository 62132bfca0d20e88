"""Steps of many decodes, launched before the host has seen the tokens of the step before."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pie_backend_torch.ahead.captured import Pass, Shape
from pie_backend_torch.ahead.drawing import LISTED
from pie_backend_torch.ahead.leg import Course, Leg
from pie_backend_torch.ahead.rows import Rows
from pie_backend_torch.backend import TorchBackend
from pie_backend_torch.upload import indices, upload

MOST_ROWS = 256
TICKS = 64  # steps that are planned at once, where plans have fixed shapes


@dataclass(slots=True)
class _Flight:
    """A step that was launched: who takes part, by row; its tokens on the way to the host, its hidden states."""

    courses: list[tuple[int, Course]]
    tokens: Tensor
    hidden: Tensor
    arrived: Any  # a CUDA event; None where all is there at once


class StepsAhead:
    """What a backend does of trait `decode` by itself (`pie_traits_decode.ahead.DecodesAhead`). Device thread.

    `step` launches a step and takes the tokens of the one before, so that the device has the next one before the host
    has looked. A decode that turns out to have ended then has run one token in vain, into a slot of its own. Where
    plans have fixed shapes, passes are captured (on a GPU), and the host plans only when somebody joins, and every
    `TICKS` steps.
    """

    def __init__(self, backend: TorchBackend) -> None:
        self._backend = backend
        self._decoder, self._pool = backend.decoder, backend.pool
        self._device = self._decoder.device
        self._cuda = self._device.type == "cuda"
        self._aside: Any = torch.cuda.Stream(self._device) if self._cuda else None  # type: ignore[no-untyped-call]
        self._fixed = self._decoder.kernels.attention.capturable  # plans have fixed shapes
        self._rows = Rows()
        self._ids = torch.zeros(MOST_ROWS, dtype=torch.int64, device=self._device)
        self._flights: deque[_Flight] = deque()
        self._on_way: dict[Course, int] = {}
        self._passes: dict[Shape, Pass] = {}
        self._memory: Any = None
        self._pass: Pass | None = None  # that of the plan
        self._planned: dict[Course, int] = {}  # the rows of the plan
        self._ticks = 0  # left of it

    def takes(self, course: Course) -> bool:
        """Whether it can run this one from here on."""
        if self._rows.of(course) is not None:
            return True
        command = course.command
        plain = (
            command.adapter is None and command.mask is None and not course.adjusted and self._backend.places is None
        )
        listed = command.temperature == 0 or (command.top_k is not None and command.top_k <= LISTED)
        return plain and listed and course.pending is not None and len(self._rows) < MOST_ROWS

    @torch.inference_mode()
    def step(self, courses: Sequence[Course]) -> None:
        """One more step of each that is still to draw; tokens of the step before."""
        self._rows.keep(courses)
        self._retire()
        self._on_way = {one: self._on_way.get(one, 0) for one in courses}
        going = [one for one in courses if one.left > self._on_way[one]]
        if going:
            self._launch(going)
        while self._flights and (len(self._flights) > 1 or not going):
            self._land(self._flights.popleft())

    def _retire(self) -> None:
        """What has ended and is still part of the plan writes nowhere any more: its pages may be another's soon."""
        gone = [one for one in self._planned if self._rows.of(one) is None]
        if gone and self._pass is not None:
            rows = indices([self._planned.pop(one) for one in gone], self._device)
            self._pass.slots.index_fill_(0, rows, self._pool.scratch_slot)

    def _launch(self, going: Sequence[Course]) -> None:
        if self._ticks == 0 or any(one not in self._planned for one in going):
            self._plan(going)
        assert self._pass is not None
        self._ticks -= 1
        tokens, hidden = self._pass.run()
        arrived = None
        if self._cuda:
            tokens, arrived = self._on_their_way(tokens)
        self._flights.append(_Flight([(self._planned[one], one) for one in going], tokens, hidden, arrived))
        for one in going:
            one.has_run()
            self._on_way[one] += 1

    def _on_their_way(self, tokens: Tensor) -> tuple[Tensor, Any]:
        """Where they will be on the host, and when: copied beside what is launched next, not before it."""
        there = torch.empty(tokens.shape, dtype=torch.int64, pin_memory=True)
        self._aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._aside):
            there.copy_(tokens, non_blocking=True)
            tokens.record_stream(self._aside)
            return there, self._aside.record_event()

    def _plan(self, going: Sequence[Course]) -> None:
        if fresh := [one for one in going if self._rows.of(one) is None]:
            taken = indices(
                [[self._rows.take(one) for one in fresh], [one.pending or 0 for one in fresh]], self._device
            )
            self._ids.index_copy_(0, taken[0], taken[1])
        self._planned = {one: self._rows.row(one) for one in going}
        by_row = {row: one for one, row in self._planned.items()}
        count = len(self._rows) if not self._fixed else 1 << (len(self._rows) - 1).bit_length()
        rows = [by_row.get(row) for row in range(count)]
        on_way = [0 if one is None else self._on_way[one] for one in rows]
        ticks = TICKS if self._fixed else 1
        leg = Leg(self._decoder, self._pool, rows, on_way, ticks, self._fixed)
        self._pass, self._ticks = self._prepared(leg), ticks

    def _prepared(self, leg: Leg) -> Pass:
        block = torch.from_numpy(np.concatenate([*leg.arrays, *leg.reserved]))
        there = upload(block, self._device)
        count = leg.reserved.shape[1]
        slots, positions = there[len(block) - 2 * count :].view(2, count)
        self._pool.positions.index_copy_(0, slots, positions)
        there = there[: len(block) - 2 * count]
        known = self._passes.get(leg.shape)
        if known is not None:
            known.block.copy_(there)
        else:
            lengths = [len(array) for array in leg.arrays]
            known = Pass(self._decoder, self._pool, leg.plan, lengths, there.clone(), self._ids, leg.shape)
            if self._fixed:
                self._passes[leg.shape] = known
            if self._fixed and self._cuda:
                self._memory = self._memory or torch.cuda.graph_pool_handle()
                known.capture(self._memory)
        known.begin()
        return known

    def _land(self, flight: _Flight) -> None:
        if flight.arrived is not None:
            flight.arrived.synchronize()
        tokens = flight.tokens.tolist()
        # the others were run in vain, or their inferlets are gone
        there = [(row, one) for row, one in flight.courses if not one.ended and self._rows.of(one) == row]
        for row, one in there:
            self._on_way[one] -= 1
            one.take(tokens[row])
        if ended := [(row, one) for row, one in there if one.ended]:
            rows = indices([[row for row, _ in ended], [one.command.oemb[0].index for _, one in ended]], self._device)
            self._backend.embeds.index_copy_(0, rows[1], flight.hidden.index_select(0, rows[0]))
