"""Steps of many decodes, launched before the host has seen the tokens of the step before."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pie_backend_torch.ahead.captured import Pass, Shape, arrays_of
from pie_backend_torch.ahead.drawing import LISTED
from pie_backend_torch.ahead.rows import Rows
from pie_backend_torch.backend import TorchBackend
from pie_backend_torch.handlers.forward import span_of
from pie_backend_torch.kernels import Room
from pie_backend_torch.step import Ints, Span
from pie_backend_torch.upload import indices, upload

MOST_ROWS = 256  # of a captured pass
_FEWEST_ENTRIES = 64


class Course(Protocol):
    """One decode as this needs to know it (`pie_traits_decode.running.Run`).

    pending: the token to be run next, where the host knows it. left: how many are still to be drawn, of which some may
    be on their way. command: its temperature, top_k, top_p, min_p, seed and draw; `oemb`, where its last hidden state
    goes. adjusted: whether its distributions are changed before tokens are drawn.
    """

    pending: int | None
    ended: bool
    adjusted: bool
    tokens: Sequence[int]
    command: Any

    @property
    def left(self) -> int: ...

    def forward(self) -> Any:
        """The `Forward` that runs its next token."""
        ...

    def has_run(self) -> None:
        """That one is launched."""
        ...

    def take(self, token: int) -> None:
        """The next token is known."""
        ...


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
    has looked. A decode that turns out to have ended then has run one token in vain, into a slot of its own.
    """

    def __init__(self, backend: TorchBackend) -> None:
        self._backend = backend
        self._decoder, self._pool = backend.decoder, backend.pool
        self._cuda = self._decoder.device.type == "cuda"
        self._captures = self._cuda and self._decoder.kernels.attention.capturable
        self._rows = Rows()
        self._ids = torch.zeros(MOST_ROWS, dtype=torch.int64, device=self._decoder.device)
        self._flights: deque[_Flight] = deque()
        self._on_way: dict[Course, int] = {}
        self._passes: dict[Shape, Pass] = {}
        self._memory: Any = None
        self._idle = Span([], [], [self._pool.scratch_slot], [0])

    def takes(self, course: Course) -> bool:
        """Whether it can run this one from here on."""
        command = course.command
        plain = command.adapter is None and not course.adjusted and self._backend.places is None
        listed = command.temperature == 0 or (command.top_k is not None and command.top_k <= LISTED)
        known = course.pending is not None or self._rows.of(course) is not None
        return plain and listed and known and len(self._rows) < MOST_ROWS

    @torch.inference_mode()
    def step(self, courses: Sequence[Course]) -> None:
        """One more step of each that is still to draw; tokens of the step before."""
        self._rows.keep(courses)
        self._on_way = {one: count for one, count in self._on_way.items() if self._rows.of(one) is not None}
        going = [one for one in courses if one.left > self._on_way.get(one, 0)]
        if going:
            self._launch(going)
        while self._flights and (len(self._flights) > 1 or not going):
            self._land(self._flights.popleft())

    def _launch(self, going: Sequence[Course]) -> None:
        if fresh := [one for one in going if self._rows.of(one) is None]:
            taken = [self._rows.take(one) for one in fresh]
            both = indices([taken, [one.pending or 0 for one in fresh]], self._ids.device)
            self._ids.index_copy_(0, both[0], both[1])
        by_row = {self._rows.row(one): one for one in going}
        count = len(self._rows) if not self._captures else 1 << (len(self._rows) - 1).bit_length()
        courses = [by_row.get(row) for row in range(count)]
        tokens, hidden = self._run(courses)
        self._ids[:count].copy_(tokens)
        arrived = None
        if self._cuda:
            there = torch.empty(count, dtype=torch.int64, pin_memory=True)
            there.copy_(tokens, non_blocking=True)
            tokens, hidden = there, hidden.clone()
            arrived = torch.cuda.current_stream().record_event()
        self._flights.append(_Flight(list(by_row.items()), tokens, hidden, arrived))
        for one in going:
            one.has_run()
            self._on_way[one] = self._on_way.get(one, 0) + 1

    def _run(self, courses: Sequence[Course | None]) -> tuple[Tensor, Tensor]:
        size = self._pool.page_size
        spans = [self._idle if one is None else span_of(one.forward(), size) for one in courses]
        greedy = all(one is None or one.command.temperature == 0 for one in courses)
        entries = sum(len(span.pages) + 1 for span in spans)
        shape = Shape(len(spans), max(_FEWEST_ENTRIES, 1 << (entries - 1).bit_length()), greedy)
        room = Room(shape.rows, shape.entries) if self._captures else None
        plan, arrays = arrays_of(self._decoder, spans, self._how(courses), size, room)
        joined = torch.from_numpy(np.concatenate(arrays))
        if not self._captures:
            lengths = [len(array) for array in arrays]
            block = upload(joined, self._ids.device)
            return Pass(self._decoder, self._pool, plan, lengths, block, self._ids, greedy).run()
        captured = self._passes.get(shape)
        if captured is None:
            captured = self._passes[shape] = self._capture(plan, arrays, joined, greedy)
        else:
            captured.block.copy_(joined.pin_memory(), non_blocking=True)
        return captured.run()

    def _capture(self, plan: Any, arrays: Sequence[Ints], joined: Tensor, greedy: bool) -> Pass:
        if self._memory is None:
            self._memory = torch.cuda.graph_pool_handle()
        lengths, block = [len(array) for array in arrays], joined.to(self._ids.device)
        made = Pass(self._decoder, self._pool, plan, lengths, block, self._ids, greedy)
        made.capture(self._memory)
        return made

    def _how(self, courses: Sequence[Course | None]) -> list[Ints]:
        commands = [None if one is None else one.command for one in courses]
        floats = [
            np.array([0.0 if c is None else getattr(c, name) for c in commands], dtype=np.float64).view(np.int64)
            for name in ("temperature", "top_p", "min_p")
        ]
        top_k = [1 if c is None or c.top_k is None else c.top_k for c in commands]
        seeds = [0 if c is None else c.seed for c in commands]
        numbers = [
            0 if one is None else one.command.draw + len(one.tokens) + self._on_way.get(one, 0) for one in courses
        ]
        unsigned = [np.array(values, dtype=np.uint64).view(np.int64) for values in (seeds, numbers)]
        return [*floats, np.array(top_k, dtype=np.int64), *unsigned]

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
            places = indices(
                [[row for row, _ in ended], [one.command.oemb[0].index for _, one in ended]], self._ids.device
            )
            self._backend.embeds.index_copy_(0, places[1], flight.hidden.index_select(0, places[0]))
