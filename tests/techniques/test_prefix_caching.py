"""A prefix is computed once, and what is read from the cache is what would have been computed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
import torch

from pie_core.testing.run import Outcome, run_inferlet

from .conftest import Reference
from .running import Look, Ran, assert_told, run, run_on, serving, watching

PREFIX = "Anna has a hammer. Ben has a kite. Clara has a lamp."
QUESTIONS = ["What does Anna have?", "What does Clara have?"]


def given(prefix: str = PREFIX, questions: Sequence[str] = QUESTIONS, keep: str = "0") -> list[str]:
    return ["--prefix", prefix, "--questions", "\n".join(questions), "--keep", keep]


def kept(reference: Reference, page_size: int = 16) -> int:
    """Pages of the prefix."""
    return -(-len(reference.encode(PREFIX)) // page_size)


def computed(ran: Ran) -> list[int]:
    """What the program says it computed of each prompt."""
    return [int(line.split("[computed ")[1].split()[0]) for line in ran.output.splitlines()]


def prompt(question: str) -> str:
    return f"{PREFIX}\nQuestion: {question}\nAnswer:"


@pytest.mark.parametrize("page_size", [8, 16, 32])
def test_what_comes_from_the_cache_is_what_transformers_computes_without_one(
    reference: Reference, page_size: int
) -> None:
    async def go() -> tuple[list[Look], list[Look]]:
        async with serving(page_size=str(page_size)) as controller:
            with watching(controller) as first:
                await run_on(controller, "prefix_caching", *given(keep="60"), pages_kept=kept(reference, page_size))
            with watching(controller) as second:
                await run_on(controller, "prefix_caching", *given(keep="60"), pages_kept=kept(reference, page_size))
        return first, second

    first, second = asyncio.run(go())
    expected = []
    for question in QUESTIONS:
        start = reference.encode(prompt(question))
        said = reference.generate(prompt(question), 16)
        logits = reference.logits([*start, *said])
        expected.append(logits[len(start) - 1 :][:16])
    assert_told(first, torch.cat(expected), tolerance=1e-4)
    assert_told(second, torch.cat(expected), tolerance=1e-4)


def test_a_later_program_computes_the_suffix_alone(reference: Reference) -> None:
    async def go() -> list[Ran]:
        async with serving() as controller:
            again = {"pages_kept": kept(reference)}
            return [await run_on(controller, "prefix_caching", *given(keep="60"), **again) for _ in range(2)]

    first, second = asyncio.run(go())
    prefix = len(reference.encode(PREFIX))
    suffixes = [len(reference.encode(prompt(question))) - prefix for question in QUESTIONS]
    assert computed(first) == [prefix + suffixes[0], suffixes[1]]
    assert computed(second) == suffixes
    answers = sum(len(reference.generate(prompt(question), 16)) for question in QUESTIONS)
    assert second.cost.tokens == sum(suffixes) + answers
    assert first.cost.tokens == prefix + second.cost.tokens


def test_by_default_nothing_is_left_so_every_run_is_the_same() -> None:
    async def go() -> list[Ran]:
        async with serving() as controller:
            return [await run_on(controller, "prefix_caching") for _ in range(2)]

    first, second = asyncio.run(go())
    assert first == second
    assert computed(first)[0] > computed(first)[1] == computed(first)[2] + 1


@pytest.mark.parametrize("other", [PREFIX[:-1], f"{PREFIX} ", PREFIX.replace("hammer", "horse")])
def test_a_prefix_that_is_kept_is_never_taken_for_another(reference: Reference, other: str) -> None:
    async def go() -> Ran:
        async with serving() as controller:
            await run_on(controller, "prefix_caching", *given(keep="60"), pages_kept=kept(reference))
            ask = given(other, QUESTIONS[:1])
            return await run_on(controller, "prefix_caching", *ask, pages_kept=kept(reference))

    text = other + prompt(QUESTIONS[0]).removeprefix(PREFIX)
    assert computed(asyncio.run(go())) == [len(reference.encode(text))]


def test_programs_that_start_together_keep_the_prefix_once_and_all_answer(reference: Reference) -> None:
    async def go() -> list[str]:
        async with serving() as controller:
            path = controller.programs["prefix_caching"]
            runs = (run_inferlet(path, given(keep="60"), models=controller.models) for _ in range(4))
            outcomes = await asyncio.gather(*runs)
            await run_on(controller, "prefix_caching", *given(keep="60"), pages_kept=kept(reference))
            return [outcome.output for outcome in outcomes]

    for output in asyncio.run(go()):
        assert "Anna has a hammer." in output and "Clara has a lamp." in output


def test_a_prefix_that_is_withdrawn_meanwhile_is_missed_by_nobody() -> None:
    """The name goes while the program answers: it keeps its pages, and finds nothing to withdraw at the end."""
    source = "from inferlet import *\nasync def main():\n    release_kvpage(exported_kvpages()[0].name)\n"

    async def go() -> Outcome:
        async with serving() as controller:
            (model,) = controller.models.values()
            path = controller.programs["prefix_caching"]
            running = asyncio.create_task(run_inferlet(path, given(questions=QUESTIONS[:1]), models=controller.models))
            while not model.layer.memory.exports_of("local"):
                await asyncio.sleep(0)
            await run_inferlet(source, models=controller.models)
            return await running

    outcome = asyncio.run(go())
    assert outcome.ended.status == "finished" and "Anna has a hammer." in outcome.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prefix", ""], "--prefix is empty: there is nothing to share"),
        (["--keep", "-1"], "--keep -1.0: wanted are seconds"),
        (["--prefix", "word " * 3000], "--prefix has 6000 tokens, and the model 2048 positions in all"),
    ],
)
def test_what_cannot_work_is_refused(arguments: list[str], message: str) -> None:
    ended = run("prefix_caching", *arguments).outcome.ended
    assert ended.status == "failed"
    assert message in (ended.error or "")
