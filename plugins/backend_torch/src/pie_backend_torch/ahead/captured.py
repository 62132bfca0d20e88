"""One pass over the model and the draws behind it, as one launch: a CUDA graph where the kernels can be captured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pie_backend_torch.ahead.drawing import How
from pie_backend_torch.ahead.lines import SETTINGS
from pie_backend_torch.ahead.pace import MOST_AHEAD
from pie_backend_torch.ahead.tables import Tables
from pie_backend_torch.decoder import Decoder
from pie_backend_torch.graphs import Graphs
from pie_backend_torch.pool import KvPool
from pie_backend_torch.step import Step

OWN = 2 + SETTINGS  # arrays of a pass before those of its attention
TURNS = 2 * MOST_AHEAD  # runs of a captured pass that what they gave is kept of: more than are on their way


@dataclass(frozen=True, slots=True)
class Shape:
    """What a captured pass depends on.

    ticks: passes that one plan is for. changed: somebody has biases or penalties. greedy: nobody has, or draws at
    random.
    """

    rows: int
    entries: int
    ticks: int
    greedy: bool
    changed: bool


class Pass:
    """Runs a batch of one token each, again and again: the tokens that follow, and the hidden states behind them.

    block: all arrays of a plan in one tensor on the device; what is written there is what runs. Those are, for each
    row: where its first token stands, then (in ticks) the slots of its tokens; how they are drawn (`SETTINGS`); then
    those of the attention. ids: the tokens of the rows, which each pass replaces by those that follow. tables: what
    changes distributions of which row.
    """

    def __init__(
        self,
        decoder: Decoder,
        pool: KvPool,
        plan: Any,
        lengths: Sequence[int],
        block: Tensor,
        ids: Tensor,
        tables: Tables,
        shape: Shape,
    ) -> None:
        parts = list(torch.split(block, list(lengths)))
        plan.receive(parts[OWN:], decoder.device)
        self.block = block
        self.slots = parts[1].view(shape.rows, shape.ticks)
        self._state = torch.zeros(2, dtype=torch.int64, device=decoder.device)  # passes of this plan, passes in all
        self._decoder, self._pool, self._plan, self._shape = decoder, pool, plan, shape
        self._start, self._settings = parts[0], parts[2:OWN]
        self._ids, self._tables = ids[: shape.rows], tables
        self._replay: Callable[[], object] | None = None
        self._ran = 0
        self._kept: tuple[Tensor, Tensor] | None = None

    def begin(self) -> None:
        """The next pass is the first of a plan."""
        self._state[:1].zero_()

    def run(self) -> tuple[Tensor, Tensor]:
        """Tokens [rows] and hidden states [rows, hidden]; of a captured pass until `TURNS` runs later."""
        if self._replay is None or self._kept is None:
            return self._compute()
        self._replay()
        turn, self._ran = self._ran % TURNS, self._ran + 1
        return self._kept[0][turn], self._kept[1][turn]

    def capture(self, graphs: Graphs) -> None:
        """Make it one launch. Runs it with what is in its block, of which no trace is left but keys and values."""
        written = [self._ids, *(self._tables.counts(self._shape.rows) if self._shape.changed else [])]
        before = [one.clone() for one in written]
        tokens, hidden = self._compute()
        self._kept = tokens.new_zeros(TURNS, *tokens.shape), hidden.new_zeros(TURNS, *hidden.shape)
        self._compute()  # so that nothing is loaded while it is recorded
        self._replay = graphs.record(self._compute)
        self._state.zero_()
        for one, was in zip(written, before, strict=True):
            one.copy_(was)

    def _compute(self) -> tuple[Tensor, Tensor]:
        decoder, pool, tick = self._decoder, self._pool, self._state[:1]
        slots = self.slots.index_select(1, tick).view(-1)
        step = Step(self._shape.rows, decoder.max_position - 1, self._start + tick, slots, self._plan, [])
        self._plan.place(step, pool)  # where tokens stand is in the pool already
        hidden = decoder.hidden(decoder.embed(self._ids), step, pool)
        logits = decoder.logits(hidden)
        kernels = decoder.kernels
        if self._shape.greedy:
            tokens = kernels.best(logits)
        else:
            how = self._how()
            tokens = kernels.draw(logits, how)
            if how.changes is not None:
                how.changes.drawn(tokens)
        self._ids.copy_(tokens)
        if self._kept is not None:
            turn = self._state[1:] % TURNS
            for kept, one in zip(self._kept, (tokens, hidden), strict=True):
                kept.index_copy_(0, turn, one[None])
        self._state += 1
        return tokens, hidden

    def _how(self) -> How:
        temperature, top_p, min_p, presence, frequency = (part.view(torch.float64) for part in self._settings[:5])
        top_k, seed, number = self._settings[5:]
        changes = self._tables.of(self._shape.rows, presence, frequency) if self._shape.changed else None
        return How(temperature, top_p, min_p, top_k, seed, number + self._state[:1], changes)
