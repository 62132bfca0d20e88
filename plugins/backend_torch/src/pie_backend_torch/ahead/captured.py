"""One pass over the model and the draws behind it, as one launch: a CUDA graph where the kernels can be captured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pie_backend_torch.ahead.drawing import How, draw_best
from pie_backend_torch.decoder import Decoder
from pie_backend_torch.pool import KvPool
from pie_backend_torch.step import Step

OWN = 8  # arrays of a pass before those of its attention


@dataclass(frozen=True, slots=True)
class Shape:
    """What a captured pass depends on. ticks: passes that one plan is for. greedy: nothing is drawn at random."""

    rows: int
    entries: int
    ticks: int
    greedy: bool


class Pass:
    """Runs a batch of one token each, again and again: the tokens that follow, and the hidden states behind them.

    block: all arrays of a plan in one tensor on the device; what is written there is what runs. Those are, for each
    row: where its first token stands, then (in ticks) the slots of its tokens; temperature, top_p, min_p (the bits of
    float64), top_k, seed and the number of the first draw; then those of the attention. ids: the tokens of the rows,
    which each pass replaces by those that follow.
    """

    def __init__(
        self,
        decoder: Decoder,
        pool: KvPool,
        plan: Any,
        lengths: Sequence[int],
        block: Tensor,
        ids: Tensor,
        shape: Shape,
    ) -> None:
        parts = list(torch.split(block, list(lengths)))
        plan.receive(parts[OWN:], decoder.device)
        self.block = block
        self.slots = parts[1].view(shape.rows, shape.ticks)
        self._tick = torch.zeros(1, dtype=torch.int64, device=decoder.device)
        self._decoder, self._pool, self._plan, self._shape = decoder, pool, plan, shape
        self._start, self._settings = parts[0], parts[2:OWN]
        self._ids = ids[: shape.rows]
        self._replay: Callable[[], object] | None = None
        self._out: tuple[Tensor, Tensor] | None = None

    def begin(self) -> None:
        """The next pass is the first of a plan."""
        self._tick.zero_()

    def run(self) -> tuple[Tensor, Tensor]:
        """Tokens [rows] and hidden states [rows, hidden]. Of a captured pass they are overwritten by the next run."""
        if self._replay is None:
            return self._compute()
        self._replay()
        assert self._out is not None
        return self._out

    def capture(self, memory: Any) -> None:
        """Make it one launch. Runs it, once, with what is in its block. memory: of all graphs, which run in turn."""
        kept = self._ids.clone()
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            self._compute()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=memory, capture_error_mode="thread_local"):
            self._out = self._compute()
        self._replay = graph.replay
        self._ids.copy_(kept)

    def _compute(self) -> tuple[Tensor, Tensor]:
        decoder, pool, tick = self._decoder, self._pool, self._tick
        slots = self.slots.index_select(1, tick).view(-1)
        step = Step(self._shape.rows, decoder.max_position - 1, self._start + tick, slots, self._plan, [])
        step.place(pool)
        hidden = decoder.hidden(decoder.embed(self._ids), step, pool)
        logits = decoder.logits(hidden)
        tokens = draw_best(logits) if self._shape.greedy else decoder.kernels.draw(logits, self._how())
        self._ids.copy_(tokens)
        tick += 1
        return tokens, hidden

    def _how(self) -> How:
        temperature, top_p, min_p = (part.view(torch.float64) for part in self._settings[:3])
        top_k, seed, number = self._settings[3:]
        return How(temperature, top_p, min_p, top_k, seed, number + self._tick)
