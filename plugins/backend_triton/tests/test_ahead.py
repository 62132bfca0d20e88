"""Decodes that come and go, ahead of the host, draw what each draws alone, and write nobody else's slots."""

from __future__ import annotations

import contextlib
import itertools
import math
from typing import Any

import pytest
import torch
from pie_backend_torch.ahead import tables
from pie_backend_torch.ahead.pace import Pace
from pie_backend_torch.ahead.steps import MOST_ROWS
from pie_traits_decode.running import Run

from .conftest import DEVICE
from .decoding_ahead import SIZE, VOCAB, AtOnce, Here, placed

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
