"""The bundled programs on the bundled model, against transformers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from pie_core.application.program import find_program
from pie_core.controller import Controller, Settings, find_model
from pie_core.plugins import Selection
from pie_core.testing.run import run_inferlet

from ..checkpoints import read_in_transformers

PROMPTS = ["The capital of France is", "The capital of Japan is", "12 + 30 ="]


@pytest.fixture(scope="module")
def pico() -> Path:
    return find_model("pico", Selection()).path


def expected(path: Path, prompt: str, steps: int, chat: bool = False) -> str:
    """Greedy text by transformers, up to the end token."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = read_in_transformers(path)
    if chat:
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
        )
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=steps, do_sample=False)
    tokens = [token for token in out[0, ids.shape[1] :].tolist() if token != tokenizer.eos_token_id]
    return str(tokenizer.decode(tokens))


def run(path: Path, program: str, arguments: list[str], page_size: int = 16) -> tuple[str, list[str]]:
    async def go() -> tuple[str, list[str]]:
        settings = Settings(str(path), "torch", {"page_size": str(page_size), "pages": "256"})
        async with Controller(settings) as controller:
            outcome = await run_inferlet(Path(find_program(program).filename), arguments, models=controller.models)
            assert outcome.ended.status == "finished", outcome.ended.error
            return outcome.output, outcome.messages

    return asyncio.run(go())


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("page_size", [8, 16, 32])
def test_text_completion_is_greedy_generate(pico: Path, prompt: str, page_size: int) -> None:
    output, _ = run(pico, "text_completion", ["--prompt", prompt, "--max-tokens", "20"], page_size)
    assert output == expected(pico, prompt, 20) + "\n"


def test_chat_goes_through_the_models_template(pico: Path) -> None:
    question = "What is the capital of Italy?"
    output, _ = run(pico, "text_completion", ["--chat", "--prompt", question, "--max-tokens", "24"])
    assert output == expected(pico, question, 24, chat=True) + "\n"
    assert "Rome" in output


@pytest.mark.parametrize("pages", [[], ["--fresh-pages"]])
def test_low_level_completion_is_greedy_generate_however_pages_are_used(pico: Path, pages: list[str]) -> None:
    _, messages = run(pico, "low_level_completion", ["--steps", "5", *pages])
    assert messages == [expected(pico, PROMPTS[0], 5)]
    assert "Paris" in messages[0]


def test_sampling_with_a_seed_repeats_itself_and_another_seed_differs(pico: Path) -> None:
    base = ["--prompt", "Hello,", "--temperature", "3.0", "--max-tokens", "16", "--seed"]
    first, again, other = (run(pico, "text_completion", [*base, seed])[0] for seed in ("1", "1", "2"))
    assert first == again != other
