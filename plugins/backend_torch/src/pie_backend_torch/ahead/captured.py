"""One pass over the model and the draws behind it, as one launch: a CUDA graph where the kernels can be captured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pie_backend_torch.ahead.drawing import How, draw, draw_best
from pie_backend_torch.decoder import Decoder
from pie_backend_torch.kernels import Room
from pie_backend_torch.pool import KvPool
from pie_backend_torch.step import Ints, Span, Step

OWN = 8  # arrays of a pass before those of its attention


@dataclass(frozen=True, slots=True)
class Shape:
    """What a captured pass depends on. greedy: nothing is drawn at random."""

    rows: int
    entries: int
    greedy: bool


def arrays_of(decoder: Decoder, spans: Sequence[Span], how: Sequence[Ints], size: int, room: Room | None) -> Any:
    """The plan of a pass of one token for each span, and all arrays that it wants, in order.

    how: temperature, top_p, min_p (the bits of float64), top_k, seed and number, an array of each.
    """
    plan = decoder.kernels.attention.plan(spans, size, False, room)
    positions: Ints = np.array([span.positions[0] for span in spans], dtype=np.int64)
    slots: Ints = np.array([span.slots[0] for span in spans], dtype=np.int64)
    return plan, [positions, slots, *how, *plan.arrays]


class Pass:
    """Runs a batch of one token each: the tokens that follow, and the hidden states they were drawn from.

    block: all arrays in one tensor on the device; what is written there before `run` is what it runs.
    """

    def __init__(
        self,
        decoder: Decoder,
        pool: KvPool,
        plan: Any,
        lengths: Sequence[int],
        block: Tensor,
        ids: Tensor,
        greedy: bool,
    ) -> None:
        parts = list(torch.split(block, list(lengths)))
        positions, slots, temperature, top_p, min_p, top_k, seed, number = parts[:OWN]
        plan.receive(parts[OWN:], decoder.device)
        self.block = block
        self._decoder, self._pool, self._ids = decoder, pool, ids
        self._step = Step(len(positions), decoder.max_position - 1, positions, slots, plan, [])
        floats = [part.view(torch.float64) for part in (temperature, top_p, min_p)]
        self._how = None if greedy else How(floats[0], floats[1], floats[2], top_k, seed, number)
        self._replay: Callable[[], object] | None = None
        self._out: tuple[Tensor, Tensor] | None = None

    def run(self) -> tuple[Tensor, Tensor]:
        """Tokens [rows] and hidden states [rows, hidden]. Of a captured pass they are overwritten by the next run."""
        if self._replay is None:
            return self._compute()
        self._replay()
        assert self._out is not None
        return self._out

    def capture(self, memory: Any) -> None:
        """Make it one launch. Runs it, twice, with what is in its block. memory: of all graphs, which run in turn."""
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            self._compute()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=memory, capture_error_mode="thread_local"):
            self._out = self._compute()
        self._replay = graph.replay

    def _compute(self) -> tuple[Tensor, Tensor]:
        decoder, step = self._decoder, self._step
        step.place(self._pool)
        hidden = decoder.hidden(decoder.embed(self._ids[: step.count]), step, self._pool)
        logits = decoder.logits(hidden)
        tokens = draw_best(logits) if self._how is None else draw(logits, self._how, decoder.kernels.top)
        return tokens, hidden
