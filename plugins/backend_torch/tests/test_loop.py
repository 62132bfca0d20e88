"""The monolithic loop says what `generate` says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pie_backend_torch.loop import greedy

from pie_core.errors import ResourceError


def test_greedy_gives_the_tokens_of_generate(start: Any, reference: Any) -> None:
    backend, steps = start("llama").backend, []
    prompts = [[5, 9, 14], list(range(20, 50))]
    tokens = greedy(backend, prompts, 20, after_step=lambda: steps.append(1))
    assert len(steps) == 20
    for prompt, row in zip(prompts, tokens, strict=True):
        out = reference("llama").generate(
            torch.tensor([prompt]), max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0
        )
        assert row == out[0, len(prompt) :].tolist()


def test_a_pool_too_small_is_said_before_anything_runs(start: Any) -> None:
    with pytest.raises(ResourceError, match="3 pages are needed, the pool has 2"):
        greedy(start("llama", pages=2).backend, [[5] * 40], 8)
