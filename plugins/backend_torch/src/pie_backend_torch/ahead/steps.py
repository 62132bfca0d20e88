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
from pie_backend_torch.ahead.leg import EachStep, Leg
from pie_backend_torch.ahead.lines import Lines
from pie_backend_torch.ahead.pace import Pace
from pie_backend_torch.ahead.rows import Rows
from pie_backend_torch.ahead.tables import Tables
from pie_backend_torch.backend import TorchBackend
from pie_backend_torch.course import Course, is_plain
from pie_backend_torch.kernels import PlansSteps
from pie_backend_torch.step import Ints
from pie_backend_torch.upload import indices, upload

MOST_ROWS = 256
TICKS = 64  # steps that are planned at once, where plans have fixed shapes


Hidden = tuple[Ints, Ints]
"""Slots that are to be hidden by their positions, [n] each."""


@dataclass(slots=True)
class _Flight:
    """A step that was launched: who takes part, by row; its tokens on the way to the host, its hidden states."""

    courses: list[tuple[int, Course]]
    tokens: Tensor
    hidden: Tensor
    arrived: Any  # a CUDA event with its time; None where all is there at once

    def is_there(self) -> bool:
        """Whether the host knows that it has ended, without waiting."""
        return self.arrived is not None and bool(self.arrived.query())


class StepsAhead:
    """What a backend does of trait `decode` by itself (`pie_traits_decode.own_steps.Steps`). Device thread.

    `step` launches a step and takes the tokens of those before that have ended, so that the device has some
    milliseconds of steps before the host has looked, and need not wait for a host that is held up (`Pace.ahead`). A
    decode that turns out to have ended then has run some tokens in vain, into slots of its own. Where plans have fixed
    shapes, passes are captured (on a GPU), and the host plans only when somebody joins, and every `ticks` steps. What
    it found out about a decode it keeps (`Lines`), so that a plan costs what is new in it.
    """

    apart = True

    def __init__(self, backend: TorchBackend, ticks: int = TICKS, pace: Pace | None = None) -> None:
        self._backend = backend
        self._decoder, self._pool = backend.decoder, backend.pool
        self._device = self._decoder.device
        self._cuda = self._device.type == "cuda"
        self._aside: Any = torch.cuda.Stream(self._device) if self._cuda else None  # type: ignore[no-untyped-call]
        attention, size = self._decoder.kernels.attention, self._pool.page_size
        self._fixed = isinstance(attention, PlansSteps)  # plans have fixed shapes
        self._attention = attention if isinstance(attention, PlansSteps) else EachStep(attention, size)
        self._lines = Lines(MOST_ROWS, ticks if self._fixed else 1, self._pool, self._attention)
        self._rows = Rows()
        self._coming: set[Course] = set()  # taken, and without a row as yet
        self._ids = torch.zeros(MOST_ROWS, dtype=torch.int64, device=self._device)
        self._flights: deque[_Flight] = deque()
        self._on_way: dict[Course, int] = {}
        self._passes: dict[Shape, Pass] = {}
        self._tables = Tables(self._decoder.vocab_size, self._device)
        self._graphs = backend.graphs
        self._pass: Pass | None = None  # that of the plan
        self._planned: dict[Course, int] = {}  # the rows of the plan
        self._ticks = 0  # left of it
        self._pace = pace or Pace()
        self._latest: Any = None  # when the last step ended of which the host knows
        self._one_by_one = 0  # steps to come in which those of a step that failed may be stepped each by itself
        self._kept_waiting = False  # whether somebody that joins was, for the last step

    def takes(self, course: Course) -> bool:
        """Whether it can run this one from here on."""
        if course in self._coming or self._rows.of(course) is not None:
            return True
        command = course.command
        best = command.temperature == 0 and course.adjustment is None
        listed = best or (command.top_k is not None and command.top_k <= LISTED)
        room = len(self._rows) + len(self._coming) < MOST_ROWS
        if not (is_plain(course) and listed and room and self._backend.places is None and course.pending is not None):
            return False
        self._coming.add(course)
        return True

    def beside(self) -> None:
        """A pass of programs that draw token by token is about to run, and they wait for it."""
        self._pace.shared()

    @torch.inference_mode()
    def step(self, courses: Sequence[Course]) -> None:
        """One more step of each that is still to draw; tokens of those before that have ended.

        If it fails, no course has lost anything: all of them, or some, can be stepped again.
        """
        try:
            self._step(courses)
        except BaseException:
            self._start_anew()
            self._one_by_one = max(self._one_by_one, len(courses))
            raise
        if self._one_by_one and courses:
            self._land_all()  # of those that are not among the next, too, and come back
            self._one_by_one -= 1

    def _step(self, courses: Sequence[Course]) -> None:
        self._rows.keep(courses)
        self._coming.intersection_update(courses)
        self._retire()
        self._on_way = {one: self._on_way.get(one, 0) for one in courses}
        going = [one for one in courses if one.left > self._on_way[one]]
        if going:
            self._launch(going)
        ahead, waits = self._pace.ahead, not going
        while self._flights and (waits or len(self._flights) > ahead or self._flights[0].is_there()):
            self._land(self._flights.popleft())
            waits = False

    def _start_anew(self) -> None:
        """Take what was launched, and have nobody in a row, or half in one: all are planned as if they just came."""
        self._land_all()
        self._rows.keep([])
        self._coming.clear()
        self._planned.clear()
        self._ticks = 0

    def _retire(self) -> None:
        """What has ended and is still part of the plan writes nowhere any more: its pages may be another's soon."""
        gone = [one for one in self._planned if self._rows.of(one) is None]
        if gone and self._pass is not None:
            rows = indices([self._planned.pop(one) for one in gone], self._device)
            self._pass.slots.index_fill_(0, rows, self._pool.scratch_slot)

    def _launch(self, going: Sequence[Course]) -> None:
        going = self._with_plan(going)
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
            arrived: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            arrived.record()
            return there, arrived

    def _with_plan(self, going: Sequence[Course]) -> Sequence[Course]:
        """Those that take part in the next step, which is planned then.

        Who joins when it is too late to plan before the device runs dry waits while the others take one more step.
        """
        old = [one for one in going if one in self._planned]
        if self._ticks and len(old) == len(going):
            return going
        self._kept_waiting = bool(
            self._ticks
            and old
            and self._flights
            and not self._kept_waiting
            and self._pace.too_late_to_plan(len(self._flights))
        )
        if self._kept_waiting:
            return old
        began, known = self._pace.now(), len(self._passes)
        self._plan(going)
        if len(self._passes) == known:  # nothing was captured
            self._pace.planned(self._pace.now() - began)
        return going

    def _plan(self, going: Sequence[Course]) -> None:
        """A plan for these. Who has a line keeps it, as long as it is good for a while."""
        self._ticks = 0  # should this fail
        fresh = [one for one in going if self._rows.of(one) is None]
        joined = [self._rows.take(one) for one in fresh]
        self._coming.difference_update(fresh)
        hidden = [self._lines.put(joined, fresh, [self._on_way[one] for one in fresh])] if fresh else []
        rows: Ints = np.array([self._rows.row(one) for one in going], dtype=np.int64)
        positions: Ints = np.array([one.position for one in going], dtype=np.int64)
        if old := np.flatnonzero(self._lines.left(rows, positions) <= self._lines.ticks // 2).tolist():
            hidden.append(self._lines.renew(rows[old].tolist(), [going[at] for at in old]))
        leg = Leg(self._attention, self._lines, rows, positions, self._fixed)
        if leg.shape.changed and self._tables.hold(leg.shape.rows):
            self._passes = {shape: known for shape, known in self._passes.items() if not shape.changed}
        self._tables.put(joined, fresh)
        self._pass, self._ticks = self._prepared(leg, joined, fresh, hidden), leg.ticks
        self._planned = dict(zip(going, rows.tolist(), strict=True))

    def _prepared(self, leg: Leg, joined: Sequence[int], fresh: Sequence[Course], hidden: Sequence[Hidden]) -> Pass:
        """The pass of this plan, and on the device all that it needs, by one copy: also the first tokens of those that
        have `joined` these rows, and the positions of slots to come."""
        slots, positions = [slots for slots, _ in hidden], [positions for _, positions in hidden]
        tokens = np.array([*joined, *(one.pending or 0 for one in fresh)], dtype=np.int64)
        lengths = [len(array) for array in leg.arrays]
        block = np.concatenate([*leg.arrays, tokens, *slots, *positions])
        there, new, coming = torch.split(
            upload(torch.from_numpy(block), self._device),
            [sum(lengths), len(tokens), len(block) - sum(lengths) - len(tokens)],
        )
        if fresh:
            self._ids.index_copy_(0, *new.view(2, -1))
        if hidden:
            self._pool.positions.index_copy_(0, *coming.view(2, -1))
        known = self._passes.get(leg.shape)
        if known is not None:
            known.block.copy_(there)
        else:
            mine, ids = there.clone(), self._ids
            known = Pass(self._decoder, self._pool, leg.plan, lengths, mine, ids, self._tables, leg.shape)
            if self._fixed:
                self._passes[leg.shape] = known
            if self._fixed and self._graphs.possible:
                known.capture(self._graphs)
        known.begin()
        return known

    def _land_all(self) -> None:
        while self._flights:
            self._land(self._flights.popleft())

    def _land(self, flight: _Flight) -> None:
        if flight.arrived is not None:
            flight.arrived.synchronize()
            before, self._latest = self._latest, flight.arrived
            self._pace.arrived(None if before is None else before.elapsed_time(flight.arrived) / 1e3)
        tokens = flight.tokens.tolist()
        # the others were run in vain, or their inferlets are gone
        there = [(row, one) for row, one in flight.courses if not one.ended and self._rows.of(one) == row]
        for row, one in there:
            self._on_way[one] -= 1
            one.take(tokens[row])
        if ended := [(row, one) for row, one in there if one.ended]:
            rows = indices([[row for row, _ in ended], [one.command.oemb[0].index for _, one in ended]], self._device)
            self._backend.embeds.index_copy_(0, rows[1], flight.hidden.index_select(0, rows[0]))
