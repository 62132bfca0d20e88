"""Over a vocabulary: log-sum-exp against float64, the top against a stable sort, draws against `Dist.sample`."""

from __future__ import annotations

import random

import pytest
import torch
from inferlet.dist import Dist
from inferlet.draws import Draws
from pie_backend_triton.ops.best import best
from pie_backend_triton.ops.draw import draw
from pie_backend_triton.ops.log_sum_exp import log_sum_exp
from pie_backend_triton.ops.top import top

from .conftest import DEVICE, worst

pytestmark = pytest.mark.usefixtures("poison")


def scores(rows: int, vocab: int, seed: int = 0) -> torch.Tensor:
    return (torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * 5).to(DEVICE)


@pytest.mark.parametrize("vocab", [1, 37, 4096, 9001])
def test_the_log_sum_exp_of_rows_with_scores_of_minus_infinity_and_large_ones(vocab: int) -> None:
    logits = scores(3, vocab) + 80
    logits[0, (vocab + 1) // 2 :] = -torch.inf
    assert worst(log_sum_exp(logits), logits.double().logsumexp(-1)) < 1e-6


@pytest.mark.parametrize(("vocab", "count"), [(37, 2), (300, 299), (4097, 50), (9001, 256), (13000, 1024)])
def test_the_top_is_that_of_a_stable_sort(vocab: int, count: int) -> None:
    logits = scores(3, vocab, seed=count)
    logits[1] = logits[1].round()  # ties all over, -0.0 among them
    logits[2, 7:] = -torch.inf
    ids, probs = top(logits, count)
    ordered = torch.sort(logits + 0.0, dim=-1, descending=True, stable=True).indices[:, :count]
    assert torch.equal(ids, ordered)
    assert worst(probs, logits.double().softmax(-1).gather(1, ordered)) < 1e-5


@pytest.mark.parametrize("vocab", [1, 37, 4097, 9001])
def test_the_best_is_the_first_of_the_largest(vocab: int) -> None:
    logits = scores(4, vocab, seed=vocab)
    logits[1] = logits[1].div(9).round()  # ties all over, -0.0 among them
    logits[2] = -torch.inf
    logits[3, :-1] = -torch.inf
    ordered = torch.sort(logits + 0.0, dim=-1, descending=True, stable=True).indices
    assert torch.equal(best(logits), ordered[:, 0])


def test_draws_are_those_of_the_sdk() -> None:
    rng = random.Random(4)
    rows = 60
    logits = scores(rows, 400, seed=9) / 5  # flat enough for every setting to matter
    ids, probs = top(logits, 50)
    columns = {
        "temperature": [rng.choice([0.0, 0.5, 1.0, 1.7]) for _ in range(rows)],
        "top_k": [rng.choice([1, 5, 50, 1000]) for _ in range(rows)],
        "top_p": [rng.choice([1.0, 0.9, 0.3, 0.01]) for _ in range(rows)],
        "min_p": [rng.choice([0.0, 0.05, 0.5]) for _ in range(rows)],
    }
    seeds = [rng.randrange(1 << 64) for _ in range(rows)]
    numbers = [rng.choice([0, 1, 77, 1 << 40]) for _ in range(rows)]
    heat, share, floor = (
        torch.tensor(columns[name], dtype=torch.float64, device=DEVICE) for name in ("temperature", "top_p", "min_p")
    )
    kinds, draws = (torch.tensor(values, dtype=torch.int64, device=DEVICE) for values in (columns["top_k"], numbers))
    bits = torch.tensor([seed - (seed >> 63 << 64) for seed in seeds], dtype=torch.int64, device=DEVICE)
    tokens = draw(ids, probs, heat, kinds, share, floor, bits, draws)
    for row, token in enumerate(tokens.tolist()):
        settings = {name: values[row] for name, values in columns.items()}
        dist = Dist(ids[row].tolist(), probs[row].tolist())
        assert token == dist.sample(**settings, seed=Draws(seeds[row], numbers[row])), settings
