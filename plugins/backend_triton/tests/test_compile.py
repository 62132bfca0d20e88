"""What the backend launches compiles for Hopper and Ampere, and fits there, with no GPU at hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from pie_backend_torch.options import PAGE_SIZES
from pie_backend_triton.coverage import WIDTHS

from . import compiling
from .compiling import MODELS

KERNELS = Path(__file__).parents[1] / "src" / "pie_backend_triton" / "ops"
SHARED = {80: 163 << 10, 90: 227 << 10}  # bytes that one program may take


@pytest.mark.parametrize("capability", MODELS)
def test_every_kernel_compiles(capability: int, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, compiling.__file__, str(capability)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    made = [json.loads(line) for line in done.stdout.splitlines()]
    defined = {
        line.removeprefix("def ").partition("(")[0]
        for file in KERNELS.glob("*.py")
        for line in file.read_text("utf-8").splitlines()
        if line.startswith("def ") and "_kernel(" in line
    }
    assert {facts["kernel"] for facts in made} == defined
    assert not [facts for facts in made if facts["shared"] > SHARED[capability]]
    assert {facts["NEAR"] for facts in made if "NEAR" in facts} == {False, True}
    attend = [facts for facts in made if facts["kernel"] == "attend_kernel"]
    assert {(facts["WIDTH"], facts["HEIGHT"], facts["MASKED"]) for facts in attend} == tiles(capability)


def tiles(capability: int) -> set[tuple[int, int, bool]]:
    """Of the calls that the models for it have: how wide and high, and whether under an explicit mask."""
    found = set()
    for model in MODELS[capability]:
        cutting = model.cutting(capability)
        tokens = [*product(model.tokens, [False]), *product(model.masked, [True])]
        found |= {(model.width, cutting.height(count), masked) for count, masked in tokens}
    return found


def test_every_tile_that_a_model_may_have_is_among_what_is_compiled() -> None:
    """Of some type: those of float32, which take long, are the lowest alone."""
    compiled, launched = set(), set()
    for capability, models in MODELS.items():
        compiled |= tiles(capability)
        for model in models:
            launched |= set(product([model.width], model.cutting(capability).heights, [False, True]))
        assert {model.dtype for model in models} >= {torch.bfloat16, torch.float16}
    assert compiled == launched
    every = [model for models in MODELS.values() for model in models]
    assert {model.width for model in every} == set(WIDTHS)
    assert {model.page_size for model in every} == set(PAGE_SIZES)
