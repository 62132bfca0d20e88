"""The watermark is found where it was put, nowhere else, and is the paper's bias on the model's own logits."""

from __future__ import annotations

import asyncio
import math
import random
import re
import statistics
from itertools import pairwise

import pytest
import torch
from inferlet.dist import Dist
from inferlet.sampling import sampling

from .conftest import Reference
from .running import run, run_on, serving

KEY, GAMMA = 15485863, 0.25
SEEDS = range(3)

# Gettysburg Address (1863), the opening of Moby-Dick (1851), Darwin's Origin of Species (1859)
HUMAN = [
    "Four score and seven years ago our fathers brought forth on this continent, a new nation, conceived in Liberty, "
    "and dedicated to the proposition that all men are created equal. Now we are engaged in a great civil war, testing "
    "whether that nation, or any nation so conceived and so dedicated, can long endure.",
    "Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse, and "
    "nothing particular to interest me on shore, I thought I would sail about a little and see the watery part of the "
    "world.",
    "There is grandeur in this view of life, with its several powers, having been originally breathed into a few forms "
    "or into one; and that, whilst this planet has gone cycling on according to the fixed law of gravity, from so "
    "simple a beginning endless forms most beautiful and most wonderful have been, and are being, evolved.",
]


def colours(before: int, vocabulary: int, key: int = KEY) -> set[int]:
    """The green list behind a token, from the paper and the program's docstring."""
    return set(random.Random(f"{key} {before}").sample(range(vocabulary), int(GAMMA * vocabulary)))


def pairs_of(reference: Reference, text: str) -> set[tuple[int, int]]:
    tokens = reference.encode(text)
    return set(pairwise(tokens))


def z(pairs: set[tuple[int, int]], vocabulary: int, key: int = KEY) -> float:
    lists = {before: colours(before, vocabulary, key) for before, _ in pairs}
    green = sum(token in lists[before] for before, token in pairs)
    return (green - GAMMA * len(pairs)) / math.sqrt(len(pairs) * GAMMA * (1 - GAMMA))


def written(*arguments: str) -> tuple[str, float]:
    """What the program wrote, and the z it found in it."""
    text, _, verdict = run("watermarking", *arguments).output.rstrip("\n").rpartition("\n")
    found = re.fullmatch(r"\[\d+ of \d+ pairs are green, z = (-?[\d.]+): .*\]", verdict)
    assert found is not None
    return text, float(found[1])


def test_watermarked_text_is_told_from_plain_and_human_text(reference: Reference) -> None:
    vocabulary = reference.model.config.vocab_size

    async def go(delta: str) -> list[str]:
        async with serving() as controller:
            runs = [await run_on(controller, "watermarking", "--delta", delta, "--seed", str(s)) for s in SEEDS]
            return [ran.output for ran in runs]

    marked, plain = asyncio.run(go("4")), asyncio.run(go("0"))
    for output in marked:
        text, _, verdict = output.rstrip("\n").rpartition("\n")
        found = z(pairs_of(reference, text), vocabulary)
        assert found > 4
        assert f"z = {found:.2f}: watermarked]" in verdict  # the program's own count, and not another one
    texts = [output.rstrip("\n").rpartition("\n")[0] for output in plain]
    assert all(z(pairs_of(reference, text), vocabulary) < 2 for text in (*texts, *HUMAN))


def test_over_many_keys_plain_text_has_as_many_green_tokens_as_by_chance(reference: Reference) -> None:
    """z is about normal, with mean 0 and deviation 1: no key finds a watermark where there is none."""
    vocabulary = reference.model.config.vocab_size
    pairs = [pairs_of(reference, text) for text in HUMAN]
    found = [z(of, vocabulary, key) for of in pairs for key in range(20)]
    assert abs(statistics.mean(found)) < 0.5 and 0.7 < statistics.stdev(found) < 1.3
    assert max(found) < 4


@pytest.mark.parametrize("text", HUMAN)
def test_the_detector_finds_nothing_in_human_text(text: str) -> None:
    ran = run("watermarking", "--detect", text)
    assert ran.output.endswith(": no watermark found]\n")
    assert ran.cost.tokens == 0, "the model is not needed"


def test_another_key_finds_nothing() -> None:
    text, found = written()
    assert found > 4
    assert run("watermarking", "--detect", text).output.endswith("watermarked]\n")
    assert run("watermarking", "--detect", text, "--key", "1").output.endswith("no watermark found]\n")


def test_tokens_are_drawn_from_the_models_logits_plus_delta_where_green(reference: Reference) -> None:
    """Algorithm 2 on the logits of transformers, computed anew for every token."""
    count, delta, temperature, ends = 40, 3.0, 1.5, reference.tokenizer.eos_token_id
    sampler = sampling(temperature, seed=7)
    tokens, text = reference.encode(reference.chat("Name three colours.")), []
    for _ in range(count):
        logits = reference.logits(tokens)[-1]
        likeliest = torch.softmax(logits, -1).sort(descending=True, stable=True).indices[:256]
        likeliest = likeliest[likeliest != ends]
        green = colours(tokens[-1], len(logits))
        raised = [logits[t].item() + delta * (t in green) for t in likeliest.tolist()]
        probs, order = torch.softmax(torch.tensor(raised), -1).sort(descending=True, stable=True)
        token = sampler(Dist(likeliest[order].tolist(), probs.tolist()))
        tokens.append(token)
        text.append(token)
    found, _ = written("--max-tokens", str(count), "--delta", "3", "--temperature", "1.5", "--seed", "7")
    assert found == reference.decode(text)


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_without_delta_it_is_exactly_plain_sampling(seed: str) -> None:
    arguments = ("--temperature", "1.2", "--seed", seed, "--max-tokens", "40", "--prompt", "Name three colours.")
    text, _ = written("--delta", "0", "--no-full-length", *arguments)
    assert text + "\n" == run("text_completion", "--chat", *arguments).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--gamma", "0"), "0 < gamma < 1"),
        (("--gamma", "1"), "0 < gamma < 1"),
        (("--delta", "-1"), "delta >= 0"),
        (("--detect", "a"), "fewer than two tokens"),
    ],
)
def test_what_makes_no_watermark_is_an_error(arguments: tuple[str, str], message: str) -> None:
    ended = run("watermarking", *arguments).outcome.ended
    assert ended.status == "failed" and message in (ended.error or "")
