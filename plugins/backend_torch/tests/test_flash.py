"""Calls go to FlashInfer in a form in which its own rules say what ours say. Oracle: attention by its definition.

The library is not here: `by_definition` computes what was planned for it. On a GPU see `test_flashinfer.py`.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from pie_backend_torch.flash.attention import FlashInferAttention
from pie_backend_torch.kernels import Flavour, Recipe
from pie_backend_torch.load import load_backend
from pie_backend_torch.options import TorchOptions
from pie_backend_torch.step import Span
from pie_backend_torch.torch_kernels import TorchKernels
from pie_traits_text.allocate import CopyKvpage
from structlog.testing import capture_logs

from pie_core.model import ModelSpec

from .by_definition import ByDefinition
from .conftest import Driver
from .served import HEADS, PAGE, WHOLE, Served, any_passes, sequence


class Planned(Served):
    """On the CPU, with what was planned."""

    def __init__(self) -> None:
        self.engine = ByDefinition()
        super().__init__(self.engine)

    @property
    def forms(self) -> list[tuple[int, int, bool]]:
        """Of the last pass: rows, page size, whether causal by place."""
        return [(int(tables.queries[-1]), tables.size, tables.causal) for tables in self.engine.planned]


def test_prefills_and_single_tokens_read_their_pages_in_two_launches() -> None:
    served = Planned()
    tables = [random.Random(n).sample(range(20 * n, 20 * n + 20), 12) for n in range(4)]
    served.run([sequence(table, 0, new) for table, new in zip(tables, (21, 1, 8, 60), strict=True)])
    assert served.forms == [(1, PAGE, True), (89, PAGE, True)]
    served.run([sequence(table, n, new) for table, n, new in zip(tables, (21, 1, 8, 60), (1, 7, 1, 3), strict=True)])
    assert served.forms == [(2, PAGE, True), (10, PAGE, True)]


@pytest.mark.parametrize("window", [1, 7, 8, 30])
def test_a_window_of_consecutive_tokens_is_one_by_place(window: int) -> None:
    served = Planned()
    tables = [range(20 * n, 20 * n + 12) for n in range(2)]
    served.run([sequence(table, 0, 40, start=5) for table in tables], Flavour(window=window))
    served.run([sequence(tables[0], 40, 1, 5), sequence(tables[1], 40, 9, 5)], Flavour(window=window))
    assert all(size == PAGE for _, size, _ in served.forms)


def test_a_window_over_positions_with_gaps_goes_by_positions() -> None:
    served = Planned()
    served.run([sequence(range(4), 0, 16)], Flavour(window=8))
    late = Span([0, 1], [WHOLE, WHOLE], [16], [21])  # sees 14 and 15, not the seven before it
    served.run([late], Flavour(window=8))
    assert served.forms == [(1, 1, False)]
    served.run([late], Flavour(window=100))  # nothing is so far away
    assert served.forms == [(1, PAGE, True)]


def test_tokens_that_stand_above_the_new_one_are_hidden_by_a_mask() -> None:
    served = Planned()
    served.run([sequence(range(4), 0, 16)])
    served.run([Span([0, 1], [WHOLE, WHOLE], [16], [9]), Span([0], [WHOLE], [40, 41, 42], [9, 8, 9])])
    assert served.forms == [(4, 1, False)]


def test_what_the_host_knows_nothing_of_goes_by_the_positions_on_the_device() -> None:
    served = Planned()
    served.run([sequence(range(4), 0, 16)])
    served.pool.ledger = None
    served.run([sequence(range(4), 16, 1)])
    assert served.forms == [(1, 1, False)]


def test_holes_are_not_read_and_explicit_masks_replace_causality_and_window() -> None:
    served = Planned()
    served.run([sequence(range(8), 0, 30), sequence(range(10, 12), 0, 5)])
    draw = np.random.default_rng(0)
    mask = draw.random((3, 5 + 3)) < 0.5
    mask[1] = False  # sees nothing
    spans = [
        Span([0, 1, 2, 3], [WHOLE & ~0b1010, WHOLE, 0b11, 0b111111], [600], [30]),
        Span([10], [0b11111], [85, 86, 87], [5, 6, 7], mask),
        Span([12, 0], [0, WHOLE], [608, 609], [40, 41]),  # an empty page
    ]
    served.positions[[96]] = -1
    served.run(spans, Flavour(window=9))
    assert sorted(served.forms) == [(6, 1, False)]
    served.run(spans)
    assert sorted(served.forms) == [(2, PAGE, True), (4, 1, False)]


def test_a_shared_prefix_is_read_once() -> None:
    served = Planned()
    prefix = range(18)  # 144 tokens
    served.run([sequence(prefix, 0, 144), sequence(range(20, 24), 0, 20)])
    branches = [Span([*prefix], [WHOLE] * 18, [(30 + n) * PAGE], [144]) for n in range(5)]
    short = Span([*prefix[:17]], [WHOLE] * 17, [40 * PAGE], [136])
    served.run([branches[0], sequence(range(20, 24), 20, 1), *branches[1:], short])
    assert served.forms == [(7, PAGE, True), (6, PAGE, False)]
    own, shared = served.engine.planned
    assert shared.pages.tolist() == [*range(17)]  # what the short one has
    assert len(own.pages) == 3 + 5 * 2 + 1
    served.run([branches[0], short], Flavour(window=20))
    assert served.forms == [(2, PAGE, True)]


def test_branches_that_part_on_full_pages_share_what_lies_before() -> None:
    served = Planned()
    prefix, whole = [*range(16)], [WHOLE] * 16
    served.run([sequence(prefix, 0, 128)])
    served.run([Span(prefix, whole, range(page * PAGE, (page + 2) * PAGE), range(128, 144)) for page in (20, 30)])
    ends = [Span([*prefix, page, page + 1], [*whole, WHOLE, WHOLE], [(page + 2) * PAGE], [144]) for page in (20, 30)]
    served.run(ends)
    own, shared = served.engine.planned
    assert shared.pages.tolist() == prefix and own.pages.tolist() == [20, 21, 22, 30, 31, 32]


@pytest.mark.parametrize(
    "flavour", [Flavour(scale=0.3), Flavour(softcap=1.5), Flavour(sinks=torch.linspace(-1, 2, HEADS))]
)
def test_scale_and_soft_cap_are_handed_on_and_sinks_are_left_to_torch(flavour: Flavour) -> None:
    served = Planned()
    with capture_logs() as logs:
        for _ in range(2):
            served.run([sequence(range(4), 0, 20), sequence(range(9, 12), 0, 1)], flavour)
    assert bool(served.forms) == (flavour.sinks is None)
    assert [entry["reason"] for entry in logs] == ([] if flavour.sinks is None else ["its kernels have no sinks"])


def test_passes_in_an_order_of_their_own_are_left_to_torch() -> None:
    served = Planned()
    served.pool.keep_orders()
    with capture_logs() as logs:
        served.run([sequence(range(4), 0, 20), sequence(range(9, 12), 0, 1)], ordered=True)
    assert not served.forms
    assert [entry["event"] for entry in logs] == ["attention.fallback"]


def test_masks_that_would_not_fit_are_left_to_torch_and_the_calls_beside_them_are_not(monkeypatch: Any) -> None:
    served = Planned()
    served.run([sequence(range(4), 0, 20)])
    monkeypatch.setattr("pie_backend_torch.flash.masks.MOST_BITS", 10)
    backwards = Span([0, 1], [WHOLE, WHOLE], [400, 401], [9, 8])
    with capture_logs() as logs:
        served.run([sequence(range(4), 20, 1), backwards, sequence(range(8, 12), 0, 9)])
    assert served.forms == [(1, PAGE, True), (9, PAGE, True)]
    assert [entry["reason"] for entry in logs] == ["masks of more than 67108864 bits in a pass"]


@pytest.mark.parametrize("seed", range(12))
def test_any_calls_in_any_order_attend_as_defined(seed: int) -> None:
    any_passes(Planned(), seed, (None, 6))


def test_a_model_served_through_it_says_what_it_says_through_torch(make: Any) -> None:
    engine = ByDefinition()
    ours = Recipe("torch", lambda *_: TorchKernels(FlashInferAttention(engine)), generic=True)
    path = make("llama", head_dim=64)
    options = TorchOptions(pages=64, embeds=1024, device="cpu", dtype="bfloat16")
    said = []
    for recipe in (ours, None):
        driver = Driver(load_backend(ModelSpec("m", path), options, lambda stage, share: None, recipe))
        prompts = [driver.pages_for(200) for _ in range(2)]
        driver.run(*(driver.forward(range(5, 145), range(140), [], pages) for pages in prompts))
        copies = driver.pages(2)
        driver.run(CopyKvpage(src=(prompts[0][8],) * 2, dst=copies))
        branches = [(*prompts[0][:8], copies[0]), prompts[0], (*prompts[1][:4], copies[1])]
        calls = [driver.forward([20 + at], [140 + at], pages, pages) for at, pages in enumerate(branches)]
        driver.run(*calls, driver.forward([30, 31, 32], [7, 8, 9], prompts[1], driver.pages(1)))
        said.append([driver.hidden(call).float() for call in calls])
        if recipe is ours:
            assert [int(tables.queries[-1]) for tables in engine.planned] == [3, 2, 3]  # two share, some are masked
    for one, other in zip(*said, strict=True):
        assert (one - other).abs().max() < 0.1 * other.abs().max()  # as much as two roundings may differ, here
