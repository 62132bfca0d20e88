"""FlashInfer on a GPU says what the definition says, with poison in every slot that nobody wrote.

With PIE_TEST_DEVICE=cuda, where flashinfer is installed. Its kernels are compiled on the first run (minutes).
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from pie_backend_torch.flash.attention import FlashInferAttention
from pie_backend_torch.flash.choice import open_flashinfer
from pie_backend_torch.flash.selfcheck import Asked, difference
from pie_backend_torch.flash.tables import Engine
from pie_backend_torch.kernels import PLAIN, Flavour
from pie_backend_torch.pool import LayerShape
from pie_backend_torch.step import Span
from structlog.testing import capture_logs

from .conftest import DEVICE, ON_CPU, Driver
from .served import PAGE, WHOLE, Served, any_passes, sequence
from .test_gpu import calls, no_waiting

pytestmark = pytest.mark.skipif(
    ON_CPU or find_spec("flashinfer") is None, reason="needs a GPU and flashinfer: set PIE_TEST_DEVICE=cuda"
)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    yield open_flashinfer(torch.device(DEVICE))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("size", [8, 16, 32])
@pytest.mark.parametrize("heads", [(32, 8), (4, 4), (6, 1)], ids=str)
def test_it_differs_from_torch_by_rounding(
    engine: Engine, dtype: torch.dtype, size: int, heads: tuple[int, int]
) -> None:
    asked = Asked(heads[0], LayerShape(heads[1], 64, 64), PLAIN)
    assert difference(FlashInferAttention(engine), asked, dtype, torch.device(DEVICE), size) < 1e-2


def test_prefills_steps_windows_masks_and_holes_are_as_defined(engine: Engine) -> None:
    served = Served(engine, DEVICE)
    tables = [range(20 * n, 20 * n + 12) for n in range(4)]
    lengths = (21, 1, 8, 60)
    for window in (None, 7):
        flavour = Flavour(window=window)
        served.run([sequence(table, 0, new) for table, new in zip(tables, lengths, strict=True)], flavour)
        served.run([sequence(table, n, 1) for table, n in zip(tables, lengths, strict=True)], flavour)
        mask = np.random.default_rng(0).random((3, 5 + 3)) < 0.5
        mask[1] = False
        holed = Span([0, 1], [WHOLE & ~0b1010, WHOLE], [600], [30])
        masked = Span([60], [0b11111], [85 * PAGE, 85 * PAGE + 1, 85 * PAGE + 2], [5, 6, 7], mask)
        served.run([holed, masked, sequence(tables[3], 60, 5)], flavour)


def test_branches_of_one_prefix_are_as_defined(engine: Engine) -> None:
    served = Served(engine, DEVICE)
    served.run([sequence(range(18), 0, 144), sequence(range(20, 24), 0, 20)])
    branches = [Span([*range(18)], [WHOLE] * 18, [(30 + n) * PAGE], [144]) for n in range(40)]
    served.run([branches[0], sequence(range(20, 24), 20, 1), *branches[1:]])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_any_calls_in_any_order_attend_as_defined(engine: Engine, dtype: torch.dtype, seed: int) -> None:
    windows = (None, 6) if dtype == torch.bfloat16 else (None,)
    any_passes(Served(engine, DEVICE, dtype), seed, windows)


@pytest.mark.parametrize("implementation", ["lean", "generic"])
def test_a_model_takes_it_by_itself_and_nobody_waits_for_the_device(start: Any, make: Any, implementation: str) -> None:
    path = make("llama", head_dim=64)
    with capture_logs() as logs:
        ours: Driver = start(path, dtype="bfloat16", implementation=implementation)
    assert [entry["attention"] for entry in logs if entry["event"] == "attention.chosen"] == ["flashinfer"]
    other: Driver = start(path, dtype="bfloat16", implementation=implementation, attention="sdpa")
    for driver in (ours, other):
        driver.run(*calls(driver, (None,)))  # once, for what is made when it is first needed
    batches = [calls(driver, (None,)) for driver in (ours, other)]
    with no_waiting():
        ours.run(*batches[0])
    other.run(*batches[1])
    for one, two in zip(*batches, strict=True):
        found, wanted = ours.hidden(one).float(), other.hidden(two).float()
        assert (found - wanted).abs().max() < 0.1 * wanted.abs().max()  # as much as two roundings may differ, here
