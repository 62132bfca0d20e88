"""A Dist is the softmax of the whole vocabulary, cut exactly."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pie_backend_torch.handlers.output_text import OutputTextHandler
from pie_backend_torch.top import top_by_keys, top_by_search, top_tokens
from pie_traits_text.output_text import GetNextDist

from .conftest import DEVICE, ON_CPU, VOCAB, Driver


@pytest.fixture(scope="module")
def driver(start: Any) -> Driver:
    made: Driver = start("llama")
    return made


@pytest.mark.parametrize("top_k", [1, 7, VOCAB - 1, VOCAB, 10_000, None])
def test_a_dist_is_the_top_of_the_softmax(driver: Driver, top_k: int | None) -> None:
    call = driver.forward([5, 6, 7], range(3), [], driver.pages(1))
    driver.run(call)
    dist = driver.dist(call.oemb[-1], top_k)
    with torch.inference_mode():  # of one row, as the handler asks for them
        scores = driver.backend.decoder.logits(driver.backend.embeds[[call.oemb[-1].index]])[0].cpu()
    probs = torch.softmax(scores.double(), -1)
    count = min(top_k or VOCAB, VOCAB)
    wanted, ids = probs.sort(descending=True, stable=True)
    assert dist.ids.typecode == "I" and dist.probs.typecode == "f"
    assert list(dist.ids) == ids[:count].tolist()
    assert torch.allclose(torch.tensor(list(dist.probs)).double(), wanted[:count], atol=1e-7 if ON_CPU else 1e-6)
    assert abs(sum(dist.probs) + dist.rest - 1.0) < 1e-5
    assert dist.rest >= 0.0


@pytest.mark.parametrize("top_k", [1, 7, None])
def test_a_restricted_dist_is_the_top_of_the_softmax_over_the_allowed_tokens(driver: Driver, top_k: int | None) -> None:
    call = driver.forward([5, 6, 7], range(3), [], driver.pages(1))
    driver.run(call)
    sets = [[3], list(range(0, VOCAB, 3)), list(range(VOCAB))]
    masks = [sum(1 << token for token in allowed).to_bytes(-(-VOCAB // 8) + 3, "little") for allowed in sets]
    handler = OutputTextHandler(driver.backend)
    dists = handler.get_restricted_dists([GetNextDist((call.oemb[-1],), top_k)] * len(sets), masks)
    logits = driver.logits(call)[-1].double()
    for allowed, dist in zip(sets, dists, strict=True):
        probs = torch.softmax(logits[allowed], -1)
        wanted, order = probs.sort(descending=True, stable=True)
        count = min(top_k or VOCAB, len(allowed))
        assert list(dist.ids) == [allowed[place] for place in order[:count].tolist()]
        assert torch.allclose(torch.tensor(list(dist.probs)).double(), wanted[:count], atol=1e-6)
        assert abs(dist.rest - wanted[count:].sum().item()) < 1e-5


def test_the_best_of_a_batch_are_the_first_that_their_dists_list(driver: Driver) -> None:
    calls = [driver.forward([first, 6, 7], range(3), [], driver.pages(1)) for first in range(5)]
    driver.run(*calls)
    asked = [GetNextDist((call.oemb[-1],), 1) for call in calls]
    best = OutputTextHandler(driver.backend).get_best(asked)
    assert best == [int(driver.logits(call)[-1].argmax()) for call in calls]
    assert len(set(best)) > 1


@settings(deadline=None)
@given(st.data())
def test_top_tokens_are_a_stable_sort_cut_at_k(data: st.DataObject) -> None:
    """By each of the ways that devices take."""
    rows, vocab = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 40))
    count = data.draw(st.integers(1, vocab))
    drawn = st.sampled_from([-math.inf, -3e38, -2.0, -1e-40, -0.0, 0.0, 1e-40, 1.0, 3e38, math.inf])  # full of ties
    logits = torch.tensor([[data.draw(drawn) for _ in range(vocab)] for _ in range(rows)])
    wanted, order = torch.sort(logits, dim=-1, descending=True, stable=True)
    ways = [top_tokens, top_by_keys] if count == vocab else [top_tokens, top_by_keys, top_by_search]
    for way in ways:
        ids, best = way(logits.to(DEVICE), count)
        assert torch.equal(ids.cpu(), order[:, :count]), way
        assert torch.equal(best.cpu(), wanted[:, :count]), way
