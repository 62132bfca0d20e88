"""Graph of thought is the graph of operations that one would write with transformers calls, and sorts exactly."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from .conftest import Reference
from .running import Ran, run, run_on, serving

DIGITS = "5 1 8 3 9 2 7 7 0 4 6 1 3 3 8 5 2 9 6 0 1 4 7 2 8 8 0 5 3 6 4 9"
CORRECTED = "6 0 8 7 6 2 9 5 5 4 5 3 3 6 6 2 1 1 2 4 6 5 6 3 5 4 5 3 2 2 6 1"  # if sorted at once


def result(ran: Ran) -> list[str]:
    return ran.output.splitlines()[-2].removeprefix("Sorted:").split()


def wrong(given: list[str], answer: list[str]) -> int:
    """The score, by its definition: order, and how often each digit occurs."""
    order = sum(answer[n] > answer[n + 1] for n in range(len(answer) - 1))
    return order + sum(abs(given.count(digit) - answer.count(digit)) for digit in {*given, *answer})


def thoughts(reference: Reference, tasks: list[tuple[str, list[str]]]) -> list[list[str]]:
    """The answers to (prompt, digits): those with errors are corrected once or twice, if that makes them better."""
    limits = [2 * len(given) + 8 for _, given in tasks]

    def ask(prompts: list[str]) -> list[list[str]]:
        answers = reference.generate_each(prompts, max(limits))
        return [reference.decode(answer[:limit]).split() for answer, limit in zip(answers, limits, strict=True)]

    best = ask([prompt for prompt, _ in tasks])
    for _ in range(2):
        again = ask([f"{prompt} {' '.join(draft)}\nImproved:" for (prompt, _), draft in zip(tasks, best, strict=True)])
        for n, (_, given) in enumerate(tasks):
            if wrong(given, again[n]) < wrong(given, best[n]):
                best[n] = again[n]
    return best


def graph(reference: Reference, digits: list[str], part: int) -> list[str]:
    parts = [digits[start : start + part] for start in range(0, len(digits), part)]
    lists = thoughts(reference, [(f"Sort: {' '.join(each)}\nSorted:", each) for each in parts])
    while len(lists) > 1:
        pairs = list(zip(lists[::2], lists[1::2], strict=False))
        merged = thoughts(reference, [(f"Merge: {' '.join(a)} and {' '.join(b)}\nMerged:", a + b) for a, b in pairs])
        lists = merged + lists[2 * len(pairs) :]
    return lists[0]


@pytest.mark.parametrize(("digits", "part"), [(DIGITS, 8), (CORRECTED, 32), ("3 1 2 2 0 9 9", 3), ("4", 8)])
def test_the_list_is_that_of_the_same_graph_written_with_transformers_and_exact(
    reference: Reference, digits: str, part: int
) -> None:
    ran = run("graph_of_thought", "--digits", digits, "--part", str(part))
    assert result(ran) == graph(reference, digits.split(), part)
    assert result(ran) == sorted(digits.split())
    assert ran.output.endswith("\nErrors: 0\n")


def test_a_draft_with_errors_is_corrected() -> None:
    ran = run("graph_of_thought", "--digits", CORRECTED, "--part", "32")
    assert "(0 errors after 1 correction)" in ran.output
    faulty = run("graph_of_thought", "--digits", CORRECTED, "--part", "32", "--attempts", "0")
    assert wrong(CORRECTED.split(), result(faulty)) > 0
    assert f"\nErrors: {wrong(CORRECTED.split(), result(faulty))}\n" in faulty.output


def test_the_parts_of_a_level_decode_side_by_side(reference: Reference) -> None:
    cost = run("graph_of_thought", "--digits", DIGITS, "--drafts", "0").cost
    answers = [len(reference.encode(f" {' '.join('0' * count)}")) for count in (8, 16, 32)]
    together, apart = sum(answers), 4 * answers[0] + 2 * answers[1] + answers[2]
    assert cost.forwards >= apart
    assert 2 * cost.steps < together + apart  # nearer to a level at once than to each part alone


def test_drafts_change_no_word_and_save_more_than_half_of_the_steps() -> None:
    plain, drafted = (run("graph_of_thought", "--digits", CORRECTED, "--drafts", drafts) for drafts in ("0", "8"))
    assert drafted.output == plain.output
    assert 2 * drafted.cost.steps < plain.cost.steps


def test_it_is_not_below_plain_completion_of_the_same_questions(reference: Reference) -> None:
    rng = Random(24)
    questions = [[rng.choice("0123456789") for _ in range(24)] for _ in range(5)]
    plain = reference.generate_each([f"Sort: {' '.join(digits)}\nSorted:" for digits in questions], 56)

    async def graphs() -> list[Ran]:
        async with serving() as controller:
            return [await run_on(controller, "graph_of_thought", "--digits", " ".join(each)) for each in questions]

    by_graph = sum(result(ran) == sorted(given) for ran, given in zip(asyncio.run(graphs()), questions, strict=True))
    at_once = sum(reference.decode(said).split() == sorted(given) for said, given in zip(plain, questions, strict=True))
    assert by_graph >= at_once
    assert by_graph > 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--digits", ""], "single digits with spaces between are wanted"),
        (["--digits", "1 22"], "single digits with spaces between are wanted"),
        (["--part", "0"], "--part 0 must be at least 1"),
        (["--attempts", "-1"], "--attempts -1 at least 0"),
    ],
)
def test_nonsense_is_refused_in_words(arguments: list[str], complaint: str) -> None:
    ended = run("graph_of_thought", *arguments).outcome.ended
    assert ended.status == "failed"
    assert complaint in (ended.error or "")
