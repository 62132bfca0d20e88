"""Biases and penalties on the device are those of the SDK, for whoever has a row."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace

import pytest
import torch
from inferlet.adjusting import Adjustment
from inferlet.dist import Dist
from pie_backend_torch.ahead.tables import Tables

from .conftest import DEVICE

VOCAB, ROWS = 40, 5
FORCED, BANNED = Adjustment({7: 1e300}), Adjustment({3: -1e300, 5: -1e300})


def rows_of(draw: random.Random) -> list[tuple[Adjustment, list[int]]]:
    """Adjustments, and what their decodes have drawn."""

    def tokens() -> list[int]:
        return [draw.randrange(VOCAB) for _ in range(draw.randrange(12))]

    def one() -> Adjustment:
        bias = {draw.randrange(VOCAB): draw.uniform(-9, 9) for _ in range(draw.randrange(6))}
        return Adjustment(bias, draw.choice((0.0, 0.7)), draw.choice((0.0, 0.4, -0.2)), tokens())

    return [*((one(), tokens()) for _ in range(ROWS - 2)), (FORCED, tokens()), (BANNED, tokens())]


@pytest.mark.parametrize("seed", range(4))
def test_a_row_has_the_changes_of_the_decode_that_has_it_now_and_counts_what_it_draws(seed: int) -> None:
    draw = random.Random(seed)
    tables = Tables(VOCAB, DEVICE)
    tables.hold(2)
    probs = torch.rand(ROWS, VOCAB, generator=torch.Generator().manual_seed(seed)).pow(4)
    probs[:, draw.sample(range(VOCAB), 9)] = 0.0
    probs[:, 20:24] = 0.125  # ties
    probs, ids = probs.sort(dim=1, descending=True, stable=True)
    for _ in range(3):  # each time others come to the rows
        ones = rows_of(draw)
        tables.hold(ROWS)
        courses = [
            SimpleNamespace(adjustment=one if one.changes_anything else None, tokens=drawn) for one, drawn in ones
        ]
        tables.put(range(ROWS), courses)  # type: ignore[arg-type]
        penalties = torch.tensor([[one.presence, one.frequency] for one, _ in ones], dtype=torch.float64, device=DEVICE)
        for _ in range(3):
            changes = tables.of(ROWS, *penalties.T)
            found, weights = changes.to(ids.to(DEVICE), probs.to(DEVICE))
            for row, (one, drawn) in enumerate(ones):
                dist = one(Dist(ids[row].tolist(), probs[row].tolist()), drawn)
                possible = sum(p > 0 for p in dist.probs)
                assert found[row, :possible].tolist() == dist.ids[:possible]
                got = (weights[row] / weights[row].sum()).tolist()
                assert all(map(lambda a, b: math.isclose(a, b, rel_tol=1e-6), got[:possible], dist.probs))
                assert not any(got[possible:])
            tokens = torch.tensor([draw.randrange(VOCAB) for _ in ones], device=DEVICE)
            changes.drawn(tokens)
            for (_, drawn), token in zip(ones, tokens.tolist(), strict=True):
                drawn.append(token)
