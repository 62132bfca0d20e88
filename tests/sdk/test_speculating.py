"""Generating with a drafter against generating without, on the fake model, whose states are hashes of all they see."""

import asyncio
from dataclasses import replace
from textwrap import dedent, indent

import pytest

from pie_core.testing import FakeBackend, fake_model, run_inferlet

PROLOGUE = """
import json
from inferlet import *

DRAFTERS = {
    "none": lambda tokens: [],
    "wrong": lambda tokens: [7, 7, 7],
    "lookup": prompt_lookup(3),
    "right": lambda tokens: list(ANSWER.encode())[len(tokens) - START :],  # what the fake model recites
    "half right": lambda tokens: [*ANSWER.encode()[len(tokens) - START :][:2], 7],
}

def filled():
    context = get_auto_model().create_context()
    context.fill_tokens([0] * START)
    return context

def passes():
    return json.loads(debug_query(create_queue(get_auto_model()), "statistics"))["calls"]["forward"]["commands"]

async def main():
"""
ANSWER = "ab ab cd äöü 😀 ab"


class Short(FakeBackend):
    """A fake model of few positions."""

    def __init__(self, **backend):
        super().__init__(**backend)
        self._info = replace(self._info, max_position=64)


def run(body, backend=FakeBackend):
    """Run a program on a model that recites; what it sends. All pages must come back."""

    async def main():
        model = fake_model(backend(page_size=4, answer=ANSWER))
        try:
            known = f"ANSWER, START = {ANSWER!r}, {len(ANSWER.encode()) + 1}  # where the fake model begins to recite\n"
            outcome = await run_inferlet(known + PROLOGUE + indent(dedent(body), "    "), models={"fake": model})
            assert {pool.capacity - pool.free for pool in model.layer.pools.values()} == {0}
        finally:
            model.close()
        assert outcome.ended.status == "finished", outcome.ended.error
        return outcome.messages

    return asyncio.run(main())


@pytest.mark.parametrize("drafter", ["none", "wrong", "lookup", "right", "half right"])
@pytest.mark.parametrize(
    "stop",
    [
        "None",
        "max_tokens(0)",
        "max_tokens(1)",
        "max_tokens(5)",
        "ends_with('cd')",
        "any_of(max_tokens(9), ends_with('ö'))",
    ],
)
@pytest.mark.parametrize("sampler", ["greedy()", "sampling(1.0, seed=3)"])
def test_text_and_context_are_those_without_a_drafter(drafter, stop, sampler):
    run(
        f"""
        with filled() as plain, filled() as context:
            wanted = await plain.generate({sampler}, {stop})
            assert await context.generate({sampler}, {stop}, drafter=DRAFTERS[{drafter!r}]) == wanted
            assert context.tokens == plain.tokens
            dist, other = await context.next_dist(5), await plain.next_dist(5)
            assert (list(dist.ids), list(dist.probs)) == (list(other.ids), list(other.probs))
        """
    )


def test_a_draft_that_is_right_takes_one_pass_and_one_that_is_wrong_takes_none_more():
    assert run(
        """
        for drafter in "none", "right", "wrong":
            with filled() as context, filled() as other:
                await other.next_dist()
                before = passes()
                await context.generate(drafter=DRAFTERS[drafter])
                send(str(passes() - before))
        """
    ) == ["24", "1", "24"]


def test_pieces_are_whole_characters_and_come_with_each_pass():
    pieces = run(
        """
        with filled() as context:
            async for piece in context.stream(drafter=lambda tokens: list(ANSWER.encode())[len(tokens) - START :][:3]):
                send(piece)
        """
    )
    assert "".join(pieces) == ANSWER and len(pieces) < len(ANSWER) / 2
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_drafter_that_guesses_past_the_models_range_is_cut_off():
    run(
        """
        with filled() as context:
            await context.generate(sampler=lambda dist: 65, drafter=lambda tokens: [65] * 50)
            assert len(context.tokens) == context.model.max_position == 64
        """,
        backend=Short,
    )


def test_a_drafter_and_constraints_are_refused():
    run(
        """
        with filled() as context:
            try:
                await context.generate(drafter=prompt_lookup(3), constraints=[lambda dist, answer: dist])
            except ArgumentError as error:
                assert "do not go together" in str(error)
            else:
                raise AssertionError
        """
    )
