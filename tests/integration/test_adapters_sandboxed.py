"""LoRA adapters through the sandbox: what a program sees there is what PEFT computes."""

from __future__ import annotations

import asyncio
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from pie_core.application.wasm.tier import WasmTier
from pie_core.testing.run import run_inferlet

from ..checkpoints import write_adapter
from .conftest import Start

TOKENS = [10, 200, 31, 77, 140, 9, 63]
PROGRAM = f"""
import asyncio, json
from inferlet import *

async def main():
    model = get_auto_model()
    async def dist(adapter):
        with Context(model, adapter) as context:
            context.fill_tokens({TOKENS})
            return (await context.next_dist(None)).prob
    probs = await asyncio.gather(*(dist(name) for name in [None, *list_adapters(model)]))
    return json.dumps([[prob(token) for token in range(model.vocab_size)] for prob in probs])
"""


@pytest.fixture
def adapters(tmp_path: Path) -> list[Path]:
    return [write_adapter(tmp_path / name, seed) for seed, name in enumerate(("ann", "bob"))]


def by_peft(checkpoint: Path, adapter: Path | None) -> torch.Tensor:
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    if adapter is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT and transformers deprecate things of each other
            model = PeftModel.from_pretrained(model, adapter)
    with torch.no_grad():
        return torch.softmax(model.eval()(input_ids=torch.tensor([TOKENS])).logits[0, -1], dim=-1)


def test_a_sandboxed_program_gets_what_each_adapter_gives_though_all_run_in_one_batch(
    start: Start, checkpoint: Path, adapters: list[Path]
) -> None:
    async def go() -> list[list[float]]:
        async with start(adapters=",".join(map(str, adapters))) as controller:
            (model,) = controller.models.values()
            outcome = await run_inferlet(PROGRAM, models=controller.models, tier=WasmTier(model.known_traits))
            assert outcome.ended.status == "finished", outcome.ended.error
            assert model.layer.statistics.calls["forward"].batches == 1
            return json.loads(outcome.ended.value)  # type: ignore[arg-type, no-any-return]

    ours = torch.tensor(asyncio.run(go()))
    theirs = torch.stack([by_peft(checkpoint, adapter) for adapter in (None, *adapters)])
    assert (ours - theirs).abs().max() < 1e-5
    assert min((theirs[a] - theirs[b]).abs().max() for a, b in ((0, 1), (0, 2), (1, 2))) > 1e-2
