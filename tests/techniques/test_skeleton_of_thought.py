"""Skeleton of thought writes what transformers writes for each point, in the steps of the longest point."""

from __future__ import annotations

import pytest

from .conftest import Reference
from .running import Ran, run

QUESTION = "Give an outline in 5 points about honey bees."


def shown(ran: Ran) -> dict[str, str]:
    """Title -> text."""
    lines = ran.output.splitlines()
    return dict(zip(lines[::2], [line.strip() for line in lines[1::2]], strict=True))


def test_each_point_is_what_transformers_writes_and_they_are_written_side_by_side(reference: Reference) -> None:
    skeleton = reference.generate(reference.chat(QUESTION), 200)
    points = reference.decode(skeleton).splitlines()
    before = reference.chat(QUESTION) + reference.decode(skeleton) + "</s>"
    turns = [f"<|user|>Expand point {number}.<|assistant|>" for number in range(1, len(points) + 1)]
    texts = reference.generate_each([before + turn for turn in turns], 100)
    ran = run("skeleton_of_thought", "--question", QUESTION, "--drafts", "0")
    assert shown(ran) == {point: reference.decode(text) for point, text in zip(points, texts, strict=True)}
    assert len(points) == 5
    lengths = [len(text) for text in texts]
    skeleton_steps = 1 + len(skeleton)
    assert 2 * (ran.cost.steps - skeleton_steps) < max(lengths) + sum(lengths)  # nearer to the longest than to the sum
    shared = len(reference.encode(before)) - 1  # once; its end token begins each branch's turn
    branches = [1 + len(reference.encode(turn)) + length for turn, length in zip(turns, lengths, strict=True)]
    assert ran.cost.tokens == shared + sum(branches)


def test_the_same_text_one_after_the_other_takes_the_sum() -> None:
    parallel, sequential = (run("skeleton_of_thought", "--drafts", "0", *how) for how in ([], ["--sequential"]))
    assert shown(parallel) == shown(sequential)
    assert 2 * parallel.cost.steps < sequential.cost.steps


@pytest.mark.parametrize("how", [[], ["--sequential"]])
def test_drafts_change_no_word_and_save_steps(how: list[str]) -> None:
    plain, drafted = (run("skeleton_of_thought", "--drafts", drafts, *how) for drafts in ("0", "4"))
    assert drafted.output == plain.output
    assert drafted.cost.steps < plain.cost.steps


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--points", "0"], "at least one is wanted"),
        (["--question", "What is the capital of France?"], "the model gives no points"),
    ],
)
def test_nonsense_is_refused_in_words(arguments: list[str], complaint: str) -> None:
    ended = run("skeleton_of_thought", *arguments).outcome.ended
    assert ended.status == "failed"
    assert complaint in (ended.error or "")
