"""Kernels run under Triton's interpreter here; on a GPU machine PIE_TEST_DEVICE=cuda runs them there.

The interpreter is chosen when a kernel is defined, so before any is imported.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import pytest
import torch

DEVICE = torch.device(os.environ.get("PIE_TEST_DEVICE", "cpu"))
if DEVICE.type == "cpu":
    assert "pie_backend_triton.ops.attend" not in sys.modules
    os.environ["TRITON_INTERPRET"] = "1"
importlib.import_module("pie_backend_triton.kernels")  # before a test turns the interpreter off

BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}  # of the largest number


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors that kernels are given to write to hold NaN before."""
    genuine = torch.empty

    def empty(*shape: Any, **how: Any) -> torch.Tensor:
        made = genuine(*shape, **how)
        return made.fill_(float("nan") if made.is_floating_point() else -(1 << 20))

    monkeypatch.setattr(torch, "empty", empty)


def worst(got: torch.Tensor, exact: torch.Tensor) -> float:
    """The largest error as a share of the largest number of `exact`, in float64; NaN counts as infinite."""
    error = (got.double() - exact).abs().max() / exact.abs().max().clamp_min(1e-30)
    return float("inf") if error.isnan() else error.item()


def poisoned(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    """What was never written: NaN everywhere."""
    return torch.full(shape, float("nan"), dtype=dtype, device=DEVICE)
