"""A Dist is the softmax of the whole vocabulary, cut exactly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pie_backend_torch.top import top_tokens

from .conftest import VOCAB, Driver


@pytest.fixture(scope="module")
def driver(start: Any) -> Driver:
    made: Driver = start("llama")
    return made


@pytest.mark.parametrize("top_k", [1, 7, VOCAB - 1, VOCAB, 10_000, None])
def test_a_dist_is_the_top_of_the_softmax(driver: Driver, top_k: int | None) -> None:
    call = driver.forward([5, 6, 7], range(3), [], driver.pages(1))
    driver.run(call)
    dist = driver.dist(call.oemb[-1], top_k)
    probs = torch.softmax(driver.logits(call)[-1].double(), -1)
    count = min(top_k or VOCAB, VOCAB)
    wanted, ids = probs.sort(descending=True, stable=True)
    assert dist.ids.typecode == "I" and dist.probs.typecode == "f"
    assert list(dist.ids) == ids[:count].tolist()
    assert torch.allclose(torch.tensor(list(dist.probs)).double(), wanted[:count], atol=1e-7)
    assert abs(sum(dist.probs) + dist.rest - 1.0) < 1e-5
    assert dist.rest >= 0.0


@settings(deadline=None)
@given(st.data())
def test_top_tokens_are_a_stable_sort_cut_at_k(data: st.DataObject) -> None:
    rows, vocab = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 40))
    count = data.draw(st.integers(1, vocab))
    scores = [[data.draw(st.integers(-2, 2)) for _ in range(vocab)] for _ in range(rows)]  # full of ties
    logits = torch.tensor(scores, dtype=torch.float32)
    ids, best = top_tokens(logits, count)
    wanted, order = torch.sort(logits, dim=-1, descending=True, stable=True)
    assert torch.equal(ids, order[:, :count])
    assert torch.equal(best, wanted[:, :count])
