"""Checked answers are right, and cost what was drawn: wrong lines leave the cache, and what was good stays there."""

from __future__ import annotations

import re

import pytest
import torch
from inferlet.dist import Dist
from inferlet.sampling import sampling

from .conftest import Reference
from .running import Ran, run

SUMS = ["(8 - 3) * 6 + 12", "34 + (52 - 27)", "(3 + 4) * 2"]
LIMIT = 32  # tokens of a line, the program's default


def answered(question: str, *arguments: str, tries: int = 1000) -> Ran:
    return run("output_validation", "--prompt", f"What is {question}?", "--tries", str(tries), *arguments)


def parts(ran: Ran) -> tuple[list[str], list[str], int, int]:
    """Good lines, rejected ones, and the two counts of the last line: rejected, tokens drawn."""
    *lines, last = ran.output.splitlines()
    counts = re.fullmatch(r"\[(\d+) of \d+ lines rejected, (\d+) tokens drawn\]", last)
    assert counts is not None
    rejected = [line for line in lines if line.startswith("rejected: ")]
    return [line for line in lines if line not in rejected], rejected, int(counts[1]), int(counts[2])


@pytest.mark.parametrize("seed", ["0", "1"])
@pytest.mark.parametrize("question", SUMS)
def test_every_line_that_is_kept_is_right_and_so_is_the_answer(reference: Reference, question: str, seed: str) -> None:
    ran = answered(question, "--seed", seed, "--temperature", "2")
    lines, rejected, count, drawn = parts(ran)
    for line in lines[:-1]:
        left, right = line.split(" = ")
        assert eval(left) == int(right)
    assert lines[-1] == f"Answer: {eval(question)}"
    assert len(rejected) == count
    prompt = len(reference.encode(reference.chat(f"What is {question}?")))
    again = (
        ran.cost.tokens - prompt - drawn
    )  # the last good token, for each try; the last of a rejected line is not run
    assert 0 <= again <= count  # but for a line that was ended by the model itself


def test_a_wrong_line_is_drawn_again_as_if_it_had_never_been(reference: Reference) -> None:
    """The same loop over transformers without any cache: everything is computed anew for every token."""
    question = SUMS[0]
    found = ((seed, parts(answered(question, "--temperature", "2", "--seed", str(seed)))) for seed in range(20))
    seed, (wanted, said, count, _) = next((seed, ran) for seed, ran in found if ran[2])
    sampler = sampling(2.0, seed=seed)
    tokens, good, rejected = reference.encode(reference.chat(f"What is {question}?")), [], 0
    while len(good) < len(wanted):
        line: list[int] = []
        while len(line) < LIMIT and not any(end in reference.decode(line[-1:]) for end in ("\n", "</s>")):
            probs = torch.softmax(reference.logits(tokens + line)[-1], -1)
            top, ids = probs.sort(descending=True, stable=True)
            line.append(sampler(Dist(ids[:256].tolist(), top[:256].tolist())))
        text = reference.decode(line).removesuffix("</s>").removesuffix("\n")
        if text == wanted[len(good)]:  # the first that is right is the one kept
            good.append(text)
            tokens += line
        else:
            assert said[rejected] == f"rejected: {text!r}"
            rejected += 1
    assert (good, rejected) == (wanted, count)


def test_without_sampling_it_is_greedy_and_one_try_is_all(reference: Reference) -> None:
    question = "(3 + 4) * 2"
    expected = reference.decode(reference.generate(reference.chat(f"What is {question}?"), 64))
    lines, _, count, _ = parts(answered(question, "--temperature", "0"))
    assert "\n".join(lines) == expected and count == 0


def test_what_never_comes_right_is_an_error_that_says_what_to_do() -> None:
    ended = answered("the meaning of 6", tries=3).outcome.ended
    assert ended.status == "failed" and "no good line in 3 tries" in (ended.error or "")
