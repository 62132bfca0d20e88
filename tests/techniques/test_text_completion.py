"""Text completion is greedy `generate`, token for token (other architectures: plugins/backend_torch/tests)."""

from __future__ import annotations

import pytest

from .conftest import Reference
from .running import run


@pytest.mark.parametrize("prompt", ["The capital of France is", "12 + 30 =", "Repeat: vexil zorp 731 plim"])
def test_greedy_completion_is_transformers_greedy_generate(reference: Reference, prompt: str) -> None:
    ran = run("text_completion", "--prompt", prompt, "--max-tokens", "20")
    expected = reference.generate(prompt, 20)
    assert ran.output == reference.decode(expected) + "\n"
    assert ran.cost.tokens == len(reference.encode(prompt)) + len(expected) - (len(expected) == 20)
    assert ran.cost.forwards == ran.cost.steps


def test_a_text_to_stop_at_is_that_of_transformers(reference: Reference) -> None:
    prompt = reference.chat("Repeat: vexil zorp 731 plim")
    ran = run("text_completion", "--prompt", prompt, "--stop", "zorp 7")
    expected = reference.generate(prompt, 32, stop_strings="zorp 7", tokenizer=reference.tokenizer)
    assert ran.output == reference.decode(expected) + "\n" == "vexil zorp 7\n"
    assert ran.cost.tokens == len(reference.encode(prompt)) + len(expected) - 1
