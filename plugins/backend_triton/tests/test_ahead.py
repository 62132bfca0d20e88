"""Decodes that come and go, ahead of the host, draw what each draws alone, and write nobody else's slots.

The model is one layer of attention by our kernels, under the interpreter; all else about it is simple enough to be said
again in float64, a token at a time, without pages, rows, plans or batches: the oracle.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import random
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from inferlet.adjusting import Adjustment
from inferlet.dist import Dist
from inferlet.draws import Draws
from pie_backend_torch.ahead import tables
from pie_backend_torch.ahead.pace import Pace
from pie_backend_torch.ahead.steps import MOST_ROWS, StepsAhead
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


RANDOM = {"temperature": 0.8, "top_k": 9, "min_p": 0.05, "seed": (1 << 64) - 3, "draw": 5}
BIASED = {"biased": [2, 21, 5], "bias": [1.5, -400.0, 0.3]}
PENALTIES = {"presence": 0.7, "frequency": 0.9, "seen": [1, 1, 4, 20]}
HOW: tuple[dict[str, Any], ...] = (
    {},
    RANDOM,
    {"stop": [3, 7, 11, 19]},
    PENALTIES,
    {**RANDOM, **BIASED, "top_p": 0.9},
    {**RANDOM, **BIASED, **PENALTIES},
)


def late() -> Pace:
    """A clock by which every plan comes too late."""
    pace = Pace(itertools.count().__next__)
    pace.arrived(1.0)
    pace.planned(10.0)
    return pace


def far() -> Pace:
    """Steps that are so short that several are launched before the host looks."""
    pace = Pace()
    pace.arrived(1e-3)
    assert pace.ahead > 2
    return pace


@pytest.mark.parametrize(
    ("ticks", "pace", "graphs"), [(3, None, None), (4, late, None), (5, far, None), (6, far, AtOnce)]
)
def test_decodes_that_come_and_go_draw_what_they_draw_alone_and_write_their_slots_alone(
    ticks: int, pace: Any, graphs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if DEVICE.type == "cuda":
        graphs = None  # true ones
    monkeypatch.setattr(tables, "_LEAST_ROWS", 1)
    here = Here(ticks, seed=ticks, pace=pace and pace(), graphs=graphs and graphs())
    going: list[Run] = []
    seen: list[Run] = []
    prefix = [here.random.randrange(VOCAB) for _ in range(3 * SIZE)]
    shared = here.pages(3)
    here.write(prefix, shared, 0)
    for _ in range(20):
        for _ in range(here.random.choice((0, 0, 1, 3)) if len(going) < 6 else 0):
            how = here.random.choice(HOW)
            before = (prefix, shared) if here.random.random() < 0.5 else None
            going.append(here.come(here.random.randrange(1, 21), here.random.randrange(1, 19), before, **how))
        if going and here.random.random() < 0.15:
            here.left(going.pop(here.random.randrange(len(going))))  # its program is gone
        here.step(going)
        seen += [run for run in going if run not in seen]
        for run in [run for run in going if run.ended]:
            going.remove(run)
            here.left(run)
    while going := [run for run in going if not run.ended]:
        here.step(going)
    assert sum(run.ended for run in seen) > 4
    for run in seen:
        here.check(run)


@pytest.mark.skipif(DEVICE.type == "cuda", reason="a pass that was captured does not come by here again")
@pytest.mark.parametrize("pace", [None, far])
def test_when_a_step_fails_nobody_loses_a_token(pace: Any) -> None:
    """All are stepped again, one after the other, as a device thread does to find out whose fault it is."""
    here = Here(ticks=4, seed=1, pace=pace and pace())
    runs = [here.come(here.random.randrange(1, 21), 14, **how) for how in HOW]
    hidden, calls = here.decoder.hidden, itertools.count()

    def failing(*arguments: Any) -> torch.Tensor:
        if next(calls) in (0, 5, 8, 9, 18):
            raise RuntimeError("no memory")
        return hidden(*arguments)

    here.decoder.hidden = failing  # type: ignore[method-assign]
    failures = 0
    while going := [run for run in runs if not run.ended]:
        assert all(here.steps.takes(run) for run in going)
        try:
            here.step(going)
        except RuntimeError:
            failures += 1
            for run in going:
                assert here.steps.takes(run)
                with contextlib.suppress(RuntimeError):
                    here.step([run])
    assert failures >= 3
    for run in runs:
        here.check(run)


def test_who_joins_has_nothing_found_out_anew_about_the_others() -> None:
    here = Here(ticks=8)
    going = [here.come(20, 14), here.come(9, 14)]
    here.step(going)
    going.append(here.come(5, 14))
    asked = here.decoder.attention.asked
    here.step(going)
    assert here.decoder.attention.asked == asked + 1
    while not all(run.ended for run in going):  # through more than one line of each
        here.step([run for run in going if not run.ended])
    for run in going:
        here.check(run)


@pytest.mark.skipif(DEVICE.type == "cuda", reason="a step may have ended there before the host looks")
def test_who_joins_too_late_waits_while_the_others_take_one_more_step_and_no_longer() -> None:
    here = Here(ticks=8, pace=late())
    first = here.come(10, 12)
    here.step([first])
    second = here.come(6, 3)
    drawn = []
    for _ in range(5):
        here.step([first, second])
        drawn.append((len(first.tokens), len(second.tokens)))
    assert drawn == [(1, 0), (2, 0), (3, 1), (4, 2), (5, 3)]  # alone it would have been one step less
    here.check(first)
    here.check(second)


def test_no_more_are_taken_than_there_are_rows_and_who_was_taken_stays() -> None:
    here = Here(ticks=4)
    runs = []
    for _ in range(MOST_ROWS + 3):
        here.free.append(0)  # nothing is run
        runs.append(here.made(1, 2))
    assert [here.steps.takes(run) for run in runs] == [True] * MOST_ROWS + [False] * 3
    assert [here.steps.takes(run) for run in runs] == [True] * MOST_ROWS + [False] * 3


@pytest.mark.skipif(DEVICE.type == "cuda", reason="what was captured does not tell where its tables were")
def test_what_was_captured_over_tables_that_have_grown_is_captured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_LEAST_ROWS", 1)
    here = Here(ticks=8, graphs=AtOnce())
    for count in (1, 3, 1):
        runs = [here.come(10, 6, **PENALTIES) for _ in range(count)]
        while going := [run for run in runs if not run.ended]:
            here.step(going)
        for run in runs:
            here.check(run)
            here.left(run)


def test_biased_tokens_of_the_whole_vocabulary_are_not_taken() -> None:
    here = Here(ticks=4)
    assert here.steps.takes(here.made(1, 2, top_k=None))
    assert not here.steps.takes(here.made(1, 2, top_k=None, **PENALTIES))


def test_who_joins_gets_the_row_of_one_that_left() -> None:
    here = Here(ticks=4)
    for _ in range(3):
        runs = [here.come(3, 3) for _ in range(2)]
        while not all(run.ended for run in runs):
            here.step([run for run in runs if not run.ended])
    assert here.decoder.widest == 2


def test_the_hidden_state_of_the_last_token_is_what_ends_up_in_the_embed() -> None:
    here = Here(ticks=4)
    run = here.come(11, 6)
    while not run.ended:
        here.step([run])
    seen = [*here.contexts[run], run.command.first, *run.tokens[:-1]]
    mean = placed(here.decoder.codes[seen], torch.arange(len(seen))).mean(0)
    got = here.embeds[run.command.oemb[0].index].cpu().double()
    assert math.isclose((got - mean).abs().max().item(), 0.0, abs_tol=1e-5)
