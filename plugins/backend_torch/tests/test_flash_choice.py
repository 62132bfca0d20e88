"""Which attention a model gets, and what the log and the errors say of it. FlashInfer: `by_definition`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pie_backend_torch.attention import GroupedAttention
from pie_backend_torch.flash.attention import FlashInferAttention
from pie_backend_torch.flash.choice import choose_attention
from pie_backend_torch.flash.selfcheck import Asked, difference
from pie_backend_torch.flash.tables import Tables, Variant
from pie_backend_torch.kernels import PLAIN, Flavour
from pie_backend_torch.pool import LayerShape
from structlog.testing import capture_logs
from torch import Tensor

from pie_core.errors import ConfigError

from .by_definition import ByDefinition, Run
from .conftest import ON_CPU

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
LLAMA = Asked(4, LayerShape(2, 64, 64), PLAIN)
WINDOWED = Asked(4, LayerShape(2, 64, 64), Flavour(window=24))

REASONS = [
    (LLAMA, torch.bfloat16, CPU, "it runs on CUDA GPUs, and the device is cpu"),
    (LLAMA, torch.float32, CUDA, "its kernels take bfloat16 and float16, not float32"),
    (
        Asked(4, LayerShape(2, 80, 80), PLAIN),
        torch.bfloat16,
        CUDA,
        "its kernels take heads 64, 128 or 256 wide, not 80",
    ),
    (Asked(4, LayerShape(4, 64, 32), PLAIN), torch.float16, CUDA, "heads 64, 128 or 256 wide, not 64 and 32"),
    (Asked(4, LayerShape(2, 64, 64), Flavour(sinks=torch.zeros(4))), torch.float16, CUDA, "its kernels have no sinks"),
]


@pytest.mark.parametrize(("asked", "dtype", "device", "reason"), REASONS)
def test_where_flashinfer_cannot_be_auto_says_why_and_asking_for_it_is_an_error(
    asked: Asked, dtype: torch.dtype, device: torch.device, reason: str
) -> None:
    with capture_logs() as logs:
        chosen = choose_attention("auto", [LLAMA, asked], dtype, device, 16)
    assert isinstance(chosen, GroupedAttention)
    (entry,) = logs
    assert entry["event"] == "attention.chosen" and entry["attention"] == "sdpa" and reason in entry["why"]
    with pytest.raises(ConfigError, match=f"attention=flashinfer cannot be: .*{reason}; take attention=auto or sdpa"):
        choose_attention("flashinfer", [LLAMA, asked], dtype, device, 16)


@pytest.mark.skipif(not ON_CPU, reason="FlashInfer may be there")
def test_where_it_is_not_installed_the_reason_says_how_to_install_it() -> None:
    with pytest.raises(ConfigError, match=r"not installed \(pip install 'pie-backend-torch\[flashinfer\]'\)"):
        choose_attention("flashinfer", [LLAMA], torch.bfloat16, CUDA, 16)


def test_sdpa_is_taken_when_asked_for() -> None:
    with capture_logs() as logs:
        assert isinstance(choose_attention("sdpa", [LLAMA], torch.bfloat16, CUDA, 16), GroupedAttention)
    assert logs == [{"event": "attention.chosen", "log_level": "info", "attention": "sdpa", "why": "attention=sdpa"}]


@pytest.mark.parametrize("size", [8, 16, 32])
@pytest.mark.parametrize("asked", [LLAMA, WINDOWED, Asked(6, LayerShape(2, 128, 128), Flavour(softcap=2.0))])
def test_the_check_at_load_finds_no_difference_where_there_is_none(size: int, asked: Asked) -> None:
    attention = FlashInferAttention(ByDefinition())
    assert difference(attention, asked, torch.bfloat16, CPU, size) < 1e-2


class Wrong(ByDefinition):
    """FlashInfer with a mistake."""

    def __init__(self, mistake: str) -> None:
        super().__init__()
        self._mistake = mistake

    def plan(self, tables: Tables, variant: Variant, mask: Tensor | None) -> Run:
        if self._mistake == "masks" and mask is not None:
            return super().plan(tables, variant, torch.full_like(mask, 255))
        run = super().plan(tables, variant, mask)
        if self._mistake == "lengths" and tables.causal:
            run.tables.lasts[0] = max(1, run.tables.lasts[0] - 1)
        return run

    def merge(self, out: Tensor, weight: Tensor, other: Tensor, other_weight: Tensor) -> None:
        super().merge(out, weight - (self._mistake == "merging") * 3, other, other_weight)


@pytest.mark.parametrize("mistake", ["masks", "lengths", "merging"])
def test_the_check_at_load_finds_what_goes_wrong(mistake: str) -> None:
    assert difference(FlashInferAttention(Wrong(mistake)), LLAMA, torch.bfloat16, CPU, 16) > 2e-2


def test_options_name_the_attention_and_other_backends_bring_their_own(start: Any) -> None:
    with pytest.raises(ConfigError, match=r"torch: attention is 'flashinfr'.*flashinfer"):
        start("llama", attention="flashinfr")
    with pytest.raises(ConfigError, match=r"attention=flashinfer cannot be: its kernels take|it runs on CUDA"):
        start("llama", attention="flashinfer")
    for implementation in ("lean", "generic"):
        assert start("llama", attention="sdpa", implementation=implementation).backend.decoder.kernels.attention
