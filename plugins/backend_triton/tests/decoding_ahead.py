"""A backend whose decodes run ahead of the host, and what each of them is to draw: the oracle.

The model is one layer of attention by our kernels, under the interpreter; all else about it is simple enough to be said
again in float64, a token at a time, without pages, rows, plans or batches.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from inferlet.adjusting import Adjustment
from inferlet.dist import Dist
from inferlet.draws import Draws
from pie_backend_torch.ahead.pace import Pace
from pie_backend_torch.ahead.steps import StepsAhead
from pie_backend_torch.building import Ints, KvPool, LayerShape, TorchKernels
from pie_backend_torch.graphs import Graphs
from pie_backend_torch.kernels import PLAIN
from pie_backend_triton.attention import TileAttention
from pie_backend_triton.tiles import Cutting
from pie_traits_decode.running import Run
from pie_traits_decode.steps import Decode

from pie_core import Embed, KvPage

from .conftest import DEVICE

SIZE, WIDTH, VOCAB, PAGES = 8, 16, 24, 120
CUTTING = Cutting(group=2, kv_heads=1, page_size=SIZE, programs=8, least_shared=16, least_split=16)


class Looks(TileAttention):
    """Counts what it is asked."""

    asked = 0

    def look(self, pages: Ints, live: Ints, slot: int, position: int) -> Ints:
        self.asked += 1
        return super().look(pages, live, slot, position)


class Mean:
    """A decoder: what follows depends on the mean of all that a token sees, of their codes and where they stand."""

    max_position, vocab_size, hidden_size, device = 1000, VOCAB, WIDTH, DEVICE

    def __init__(self) -> None:
        self.widest = 0  # rows of a pass
        made = torch.Generator().manual_seed(0)
        self.codes = torch.randn(VOCAB, WIDTH, generator=made, dtype=torch.float64)
        self.head = torch.randn(WIDTH, VOCAB, generator=made, dtype=torch.float64) * 3
        self._there = self.codes.to(DEVICE), self.head.float().to(DEVICE)  # a captured pass copies nothing
        self.attention = Looks(CUTTING)
        self.kernels = SimpleNamespace(attention=self.attention, best=TorchKernels().best, draw=TorchKernels().draw)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        return self._there[0][ids]

    def hidden(self, x: torch.Tensor, step: Any, pool: KvPool) -> torch.Tensor:
        self.widest = max(self.widest, len(x))
        value = placed(x, step.positions).float()[:, None]
        pool.values[0][step.slots] = value
        query = torch.zeros(len(x), 2, WIDTH, device=DEVICE)
        out: torch.Tensor = step.plan.attend(pool, 0, query, torch.zeros_like(value), value, PLAIN)
        return out[:, 1]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden @ self._there[1]


def placed(codes: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    return codes * torch.cos(positions * 0.7)[:, None].to(codes.dtype)


class AtOnce:
    """For graphs, where there is no GPU: what was recorded is computed again, if the tables are where they were."""

    possible = True

    def record(self, compute: Any) -> Callable[[], object]:
        one = compute.__self__
        counts = one._tables.counts(1)[0].data_ptr()

        def replay() -> object:
            assert not one._shape.changed or one._tables.counts(1)[0].data_ptr() == counts
            return compute()

        return replay


class Here:
    """A backend, whose decodes come with a context that is written by hand."""

    def __init__(self, ticks: int, seed: int = 0, pace: Pace | None = None, graphs: Any = None) -> None:
        self.decoder, self.places, self.graphs = Mean(), None, graphs or Graphs(DEVICE)
        self.pool = KvPool([LayerShape(1, WIDTH, WIDTH)], PAGES, SIZE, torch.float32, DEVICE)
        self.pool.values[0].fill_(float("nan"))
        self.embeds = torch.zeros(PAGES, WIDTH, device=DEVICE)
        self.random = random.Random(seed)
        self.free = self.random.sample(range(PAGES), PAGES)
        self.contexts: dict[Run, list[int]] = {}
        self.steps = StepsAhead(self, ticks, pace)  # type: ignore[arg-type]

    def pages(self, count: int) -> list[KvPage]:
        made = [KvPage(SIZE) for _ in range(count)]
        for page in made:
            page.index = self.free.pop()
        return made

    def write(self, tokens: Sequence[int], pages: Sequence[KvPage], start: int) -> None:
        """Tokens from position `start` on, into free slots of the pages."""
        slots = [page.index * SIZE + slot for page in pages for slot in page.take(min(page.free, SIZE))][: len(tokens)]
        for page in pages:
            page.used &= sum(1 << slot % SIZE for slot in slots if slot // SIZE == page.index)
        positions = torch.arange(start, start + len(tokens), device=DEVICE)
        values = placed(self.decoder.codes[list(tokens)].to(DEVICE), positions).float()
        self.pool.values[0][slots] = values[:, None]
        self.pool.positions[slots] = positions

    def come(self, context: int, most: int, prefix: Any = None, **how: Any) -> Run:
        """One that runs from now on; see `made`."""
        run = self.made(context, most, prefix, **how)
        assert self.steps.takes(run)
        return run

    def made(self, context: int, most: int, prefix: Any = None, **how: Any) -> Run:
        """A decode behind `context` tokens of its own, and before these a prefix that it shares (tokens, pages)."""
        shared, before = prefix or ([], [])
        tokens = [self.random.randrange(VOCAB) for _ in range(context)]
        own = self.pages(-(-(context + most) // SIZE))
        self.write(tokens, own, len(shared))
        command = Decode((*before, *own), (Embed(),), tuple(own), (Embed(),), most, self.random.randrange(VOCAB), **how)
        command.emb[0].position, command.oemb[0].index = len(shared) + context, self.random.randrange(PAGES)
        command.prepare(SimpleNamespace(max_position=1000, vocab_size=VOCAB))  # type: ignore[arg-type]
        run = Run(command, frozenset())
        self.contexts[run] = [*shared, *tokens]
        return run

    def left(self, run: Run) -> None:
        """Its own pages are the next to be given away."""
        self.free += [page.index for page in run.command.okv]

    def own(self, runs: Sequence[Run]) -> list[int]:
        """Slots that these may write."""
        return [run.command.okv[place].index * SIZE + slot for run in runs for place, slot in run.command.slots] + [
            self.pool.scratch_slot
        ]

    def step(self, runs: Sequence[Run]) -> None:
        """And nothing is written but slots of theirs."""
        others = torch.ones((PAGES + 1) * SIZE, dtype=torch.bool, device=DEVICE)
        others[self.own(runs)] = False
        before = [self.pool.values[0][others].clone(), self.pool.positions[others].clone()]
        self.steps.step(runs)
        after = [self.pool.values[0][others], self.pool.positions[others]]
        assert all(torch.equal(a.nan_to_num(1e9), b.nan_to_num(1e9)) for a, b in zip(before, after, strict=True))

    def alone(self, run: Run) -> list[int]:
        """What it is to draw: the oracle."""
        command, seen, drawn = run.command, list(self.contexts[run]), [run.command.first or 0]
        while len(drawn) <= command.most and (len(drawn) == 1 or drawn[-1] not in command.stop):
            seen.append(drawn[-1])
            mean = placed(self.decoder.codes[seen], torch.arange(len(seen))).mean(0)
            probs, ids = (mean @ self.decoder.head).softmax(0).sort(descending=True)
            dist, number = Dist(ids.tolist(), probs.tolist()), command.draw + len(drawn) - 1
            bias = dict(zip(command.biased, command.bias, strict=True))
            dist = Adjustment(bias, command.presence, command.frequency, command.seen)(dist, drawn[1:])
            how = (command.temperature, command.top_k, command.top_p, command.min_p)
            drawn.append(dist.sample(*how, Draws(command.seed, number)))
        return drawn[1:]

    def check(self, run: Run) -> None:
        alone = self.alone(run)
        assert run.tokens == (alone if run.ended else alone[: len(run.tokens)])
