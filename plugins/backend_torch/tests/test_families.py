"""Every family gives the tokens and the logits of transformers' `generate`, whatever the page size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pie_traits_text.forward import Forward
from pie_traits_text.input_text import EmbedTxt

from pie_core.resource import Embed, KvPage

from .conftest import FAMILIES, ROUNDING, VOCAB, Driver

STEPS = 12
LEAN = [name for name in FAMILIES if name.split("-")[0] in ("llama", "qwen2", "qwen3", "mistral")]
CASES = [(name, "lean") for name in LEAN] + [(name, "generic") for name in FAMILIES]


def prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(3, VOCAB, (n,), generator=generator).tolist() for n in (5, 19, 11)]


def generate(model: Any, prompt: list[int], steps: int) -> tuple[list[int], torch.Tensor]:
    """Greedy tokens and their logits [steps, vocab] by transformers."""
    out = model.generate(
        torch.tensor([prompt]),
        max_new_tokens=steps,
        min_new_tokens=steps,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        eos_token_id=None,
        pad_token_id=0,
    )
    return out.sequences[0, len(prompt) :].tolist(), torch.cat(out.logits)


def greedy(driver: Driver, texts: list[list[int]], steps: int) -> tuple[list[list[int]], list[torch.Tensor]]:
    """The same through the handlers, all prompts in one ragged batch."""
    pages: list[tuple[KvPage, ...]] = [driver.pages_for(len(text) + steps) for text in texts]
    calls = [driver.forward(text, range(len(text)), [], kv) for text, kv in zip(texts, pages, strict=True)]
    tokens: list[list[int]] = [[] for _ in texts]
    logits: list[list[torch.Tensor]] = [[] for _ in texts]
    for _ in range(steps):
        driver.run(*calls)
        last: list[Embed] = [call.oemb[-1] for call in calls]
        for row, call in enumerate(calls):
            logits[row].append(driver.logits(call)[-1])
            tokens[row].append(driver.dist(call.oemb[-1]).ids[0])
        driver.run(*(EmbedTxt(tok=[t[-1]], pos=[e.position], emb=(e,)) for t, e in zip(tokens, last, strict=True)))
        calls = [Forward(ikv=kv, iemb=(e,), okv=kv, oemb=(e,)) for kv, e in zip(pages, last, strict=True)]
    return tokens, [torch.stack(rows) for rows in logits]


@pytest.mark.parametrize(("family", "implementation"), CASES)
def test_greedy_tokens_and_logits_are_those_of_generate(
    start: Any, reference: Any, family: str, implementation: str
) -> None:
    model = reference(family)
    wanted = [generate(model, prompt, STEPS) for prompt in prompts()]
    scale = max(logits.abs().max().item() for _, logits in wanted)
    for page_size in (8, 16, 32):
        driver = start(family, implementation=implementation, page_size=page_size, pages=64)
        assert driver.backend.decoder.implementation == implementation
        tokens, logits = greedy(driver, prompts(), STEPS)
        error = max((ours - theirs).abs().max().item() for ours, (_, theirs) in zip(logits, wanted, strict=True))
        print(f"{family:14s} {implementation:8s} page {page_size:2d}: |dlogit| {error:.1e} of {scale:.1f}")
        assert tokens == [theirs for theirs, _ in wanted]
        assert error < ROUNDING * max(1.0, scale)
