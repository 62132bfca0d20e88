"""Windowed attention is transformers under the banded mask, in constant memory, over any length."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from ..checkpoints import write_llama
from .conftest import Reference, load_reference
from .masks import windowed
from .running import Look, assert_told, run
from .streams import Stream, watch

PROMPT = "Text: the silver fox carries a lamp over the old bridge near the quiet river at night\nCopy:"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """A random model that never ends its text by itself, with 256 positions."""
    return load_reference(write_llama(tmp_path_factory.mktemp("small"), ["<pad>", "</s>"], 256))


def stream(prompt: Sequence[int], looks: Sequence[Look], window: int, longest: int) -> Stream:
    """What the program must have run, given what it was told."""
    text = Stream(longest, window)
    text.append(prompt)
    for look in looks:
        text.ask()
        text.append([look.best])
    return text


@pytest.mark.parametrize(("page_size", "window"), [(8, 8), (8, 21), (16, 40), (32, 64)])
def test_every_distribution_is_transformers_under_the_window(reference: Reference, page_size: int, window: int) -> None:
    arguments = ["--prompt", PROMPT, "--window", str(window), "--max-tokens", "20"]
    ran, looks = watch("windowed_attention", *arguments, page_size=page_size)
    text = stream(reference.encode(PROMPT), looks, window, 2048)
    assert_told(looks, text.logits(reference, lambda tokens: windowed(tokens, window)))
    said = [look.best for look in looks if look.best != reference.tokenizer.eos_token_id]
    assert ran.output.startswith(PROMPT + reference.decode(said))


def test_the_window_is_the_one_of_mistral(reference: Reference) -> None:
    """transformers makes the mask by itself: the same weights as a Mistral, which has sliding windows."""
    config = MistralConfig(**reference.model.config.to_dict() | {"model_type": "mistral", "sliding_window": 24})
    mistral = MistralForCausalLM(config).eval()
    mistral.load_state_dict(reference.model.state_dict())
    _, looks = watch("windowed_attention", "--prompt", PROMPT, "--window", "24", "--max-tokens", "20")
    tokens = reference.encode(PROMPT)
    whole = torch.tensor([[*tokens, *(look.best for look in looks[:-1])]])
    with torch.no_grad():
        assert_told(looks, mistral(whole).logits[0, len(tokens) - 1 :])


def test_a_stream_of_a_hundred_windows_stays_in_its_pages(small: Reference) -> None:
    prompt = "more than the model can count, " * 13  # 403 tokens
    arguments = ["--prompt", prompt, "--window", "16", "--max-tokens", "1200"]
    _, looks = watch("windowed_attention", *arguments, model=str(small.path))
    assert len(looks) == 1200
    held = [look.pages for look in looks]
    assert max(held) == max(held[:16]) == 3  # of 8 tokens: 16 and the one before them lie in three at most
    text = stream(small.encode(prompt), looks, 16, 256)
    assert len(text.laps) > 6
    assert_told(looks, text.logits(small, lambda tokens: windowed(tokens, 16)))


def test_each_token_is_run_once_in_as_few_passes_as_the_window_allows(reference: Reference) -> None:
    ran, looks = watch("windowed_attention", "--prompt", PROMPT, "--window", "16", "--max-tokens", "5")
    tokens = len(reference.encode(PROMPT))
    assert ran.cost.tokens == tokens + len(looks) - 1
    assert ran.cost.forwards <= -(-tokens // 16) * 2 + len(looks) - 1


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ("15", "--window 15: wanted are 16 tokens, a page, at least"),
        ("0", "--window 0: wanted are 16 tokens"),
        ("1025", "1024, half the model's range, at most"),
    ],
)
def test_a_window_that_frees_nothing_or_fits_nowhere_is_refused(window: str, message: str) -> None:
    ended = run("windowed_attention", "--window", window).outcome.ended
    assert ended.status == "failed"
    assert message in (ended.error or "")
