"""Speculative decoding gives greedy tokens, and sampled ones of the model's distribution, in fewer forward passes."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
import torch

from pie_core.application.program import find_program

from .conftest import Reference
from .running import Ran, run, run_on, serving

SAILOR = "the old sailor reads a letter near the silent harbor and the young painter draws the same harbor"
COPY = f"Repeat: {SAILOR} while {SAILOR}"
EDIT = f"Replace harbor with market: {SAILOR}"
SAMPLES = """
import json
from inferlet import send

async def main():
    with get_auto_model().create_context() as context:
        context.fill_tokens(PROMPT)
        await context.next_dist()
        for seed in range(300):
            with context.fork() as branch:
                drafter, sampler = lambda tokens: DRAFT[len(tokens) - len(PROMPT):], sampling(0.5, top_k=4, seed=seed)
                send(json.dumps([t async for each in speculate(branch, drafter, sampler, 3) for t in each]))
"""


def answer(ran: Ran) -> str:
    """What was printed, without the last line of counts."""
    return ran.output.rpartition("\n[")[0]


@pytest.mark.parametrize("question", [COPY, EDIT])
def test_copies_and_edits_are_greedy_and_take_less_than_half_of_the_passes(reference: Reference, question: str) -> None:
    async def go() -> tuple[Ran, Ran]:
        async with serving() as controller:
            flags = ["--chat", "--prompt", question, "--max-tokens", "150"]
            plain = await run_on(controller, "text_completion", *flags)
            return plain, await run_on(controller, "speculative_decoding", *flags)

    plain, ran = asyncio.run(go())
    prompt = reference.chat(question)
    expected = reference.decode(reference.generate(prompt, 150))
    assert answer(ran) == expected
    assert expected == reference.decode(reference.generate(prompt, 150, prompt_lookup_num_tokens=10))
    assert plain.cost.forwards >= 2.5 * ran.cost.forwards
    assert ran.output.endswith(f" tokens in {ran.cost.forwards} forward passes]\n")


@pytest.mark.parametrize("drafts", [0, 1, 3, 20])
def test_any_draft_gives_the_greedy_tokens(reference: Reference, stranger: Reference, drafts: int) -> None:
    """The random model rejects and accepts at all places of a page; it would show a key left over from a rejection."""

    async def compare(oracle: Reference, prompts: list[str], limit: int) -> None:
        async with serving(str(oracle.path)) as controller:
            for prompt in prompts:
                flags = [f"--prompt={prompt}", "--no-chat", f"--drafts={drafts}", f"--max-tokens={limit}"]
                ran = await run_on(controller, "speculative_decoding", *flags)
                expected = oracle.generate(prompt, limit, pad_token_id=0)
                assert answer(ran) == oracle.decode(expected)
                assert ran.cost.forwards <= len(expected) + (len(expected) < limit)
                if drafts == 0:
                    assert ran.cost.tokens == len(oracle.encode(prompt)) + ran.cost.forwards - 1

    asyncio.run(compare(reference, ["What is (3 + 4) * 2?\n", "12 + 30 =", "Text: ab ab ab ba\nCopy:"], 40))
    asyncio.run(compare(stranger, [letter * length for letter, length in product("az", (1, 15, 16))], 30))


def test_a_seed_gives_the_text_that_it_gives_without_drafts(stranger: Reference) -> None:
    async def compare(model: str, prompt: str, *flags: str) -> int:
        async with serving(model) as controller:
            texts = set()
            for seed, temperature in product(range(3), (1.0, 4.0)):
                given = [f"--prompt={prompt}", f"--seed={seed}", f"--temperature={temperature}", "--max-tokens=32"]
                plain = await run_on(controller, "text_completion", *given, *flags)
                ran = await run_on(controller, "speculative_decoding", "--no-chat", *given, *flags)
                assert answer(ran) + "\n" == plain.output
                texts.add(plain.output)
            return len(texts)

    assert asyncio.run(compare("pico", EDIT, "--chat")) > 2
    assert asyncio.run(compare(str(stranger.path), "abcabcabc", "--top-p=0.8")) > 3


def test_what_is_sampled_has_the_models_distribution(stranger: Reference, tmp_path: Path) -> None:
    """300 draws of three tokens against their probabilities by transformers: chi-square within 5 deviations.

    What is drafted are the three best tokens, so that it is rejected at every place in many of the draws.
    """
    prompt = stranger.encode("abcabc")
    draft = stranger.model.generate(torch.tensor([prompt]), max_new_tokens=3, min_new_tokens=3, do_sample=False)
    program = tmp_path / "samples.py"
    source = Path(find_program("speculative_decoding").filename).read_text()
    program.write_text(f"{source}\nPROMPT, DRAFT = {prompt}, {draft[0, len(prompt) :].tolist()}\n{SAMPLES}")
    drawn = [tuple(json.loads(message)) for message in run(program, model=str(stranger.path)).outcome.messages]
    expected = {tokens: p * len(drawn) for tokens, p in continuations(stranger, prompt, 3).items()}
    assert len(drawn) == 300 and len(expected) > 15
    counts = Counter(tokens if tokens in expected else None for tokens in drawn)
    others = len(drawn) - sum(expected.values())
    chi = sum((counts[tokens] - mean) ** 2 / mean for tokens, mean in [*expected.items(), (None, others)])
    assert chi < len(expected) + 5 * math.sqrt(2 * len(expected))


def continuations(oracle: Reference, prompt: list[int], length: int) -> dict[tuple[int, ...], float]:
    """Their probabilities at temperature 0.5 among 4 tokens, down to 1 %; an end token is left out."""
    going_on: dict[tuple[int, ...], float] = {(): 1.0}
    ended: Counter[tuple[int, ...]] = Counter()
    for _ in range(length):
        grown: dict[tuple[int, ...], float] = {}
        for tokens, p in going_on.items():
            top = torch.topk(oracle.logits([*prompt, *tokens])[-1], 4)
            shares = p * torch.softmax(top.values / 0.5, -1)
            for token, share in zip(top.indices.tolist(), shares.tolist(), strict=True):
                if token in oracle.ends:
                    ended[tokens] += share
                else:
                    grown[*tokens, token] = share
        going_on = grown
    return {tokens: share for tokens, share in [*ended.items(), *going_on.items()] if share >= 0.01}


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (["--drafts=-1"], "length >= 0 and 1 <= shortest <= longest are wanted, got length=-1, longest=3"),
        (["--ngram=0"], "length >= 0 and 1 <= shortest <= longest are wanted, got length=10, longest=0"),
        (["--no-chat", "--prompt="], "the context is empty; fill something first"),
        (["--no-chat", "--prompt=" + "a" * 64], "the prompt fills the model's range of 64 tokens; shorten it"),
        (["--temperature=-1", "--no-chat", "--prompt=a"], "temperature >= 0"),
    ],
)
def test_what_cannot_be_is_an_error_and_holds_nothing(stranger: Reference, wrong: list[str], error: str) -> None:
    ended = run("speculative_decoding", *wrong, model=str(stranger.path)).outcome.ended
    assert ended.status == "failed"
    assert error in (ended.error or "")


def test_decoding_ends_where_the_models_range_ends(stranger: Reference) -> None:
    prompt = "ab" * 30
    ran = run("speculative_decoding", "--no-chat", "--prompt", prompt, model=str(stranger.path))
    assert answer(ran) == stranger.decode(stranger.generate(prompt, 4, pad_token_id=0))
