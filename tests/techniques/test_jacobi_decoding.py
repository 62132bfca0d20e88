"""Jacobi decoding is greedy `generate`, token for token, and never takes more forward passes."""

from __future__ import annotations

import asyncio
from itertools import product

import pytest

from .conftest import Reference
from .running import Ran, run, run_on, serving

QUESTIONS = ["Repeat: the old sailor reads a letter near the silent harbor", "What is (3 + 4) * 2?", "Spell: lantern"]


def answer(ran: Ran) -> str:
    """What was printed, without the last line of counts."""
    return ran.output.rpartition("\n[")[0]


@pytest.mark.parametrize(("block", "guess"), [(1, ""), (2, "no-"), (8, "no-"), (8, ""), (40, "")])
def test_tokens_are_greedy_ones_in_no_more_passes(
    reference: Reference, stranger: Reference, block: int, guess: str
) -> None:
    """The random model changes its mind at all places of a page; it would show a key left over from a wrong guess."""

    async def compare(oracle: Reference, prompts: list[str], limit: int) -> list[tuple[int, int]]:
        """The passes taken, and those that greedy decoding takes."""
        passes = []
        async with serving(str(oracle.path)) as controller:
            for prompt in prompts:
                flags = [
                    f"--prompt={prompt}",
                    "--no-chat",
                    f"--block={block}",
                    f"--max-tokens={limit}",
                    f"--{guess}lookup",
                ]
                ran = await run_on(controller, "jacobi_decoding", *flags)
                expected = oracle.generate(prompt, limit, pad_token_id=0)
                assert answer(ran) == oracle.decode(expected)
                assert ran.output.endswith(f"[{len(expected)} tokens in {ran.cost.forwards} forward passes]\n")
                passes.append((ran.cost.forwards, len(expected) + (len(expected) < limit)))
        return passes

    asked = asyncio.run(compare(reference, [reference.chat(question) for question in QUESTIONS], 40))
    drawn = [letter * length for letter, length in product("az", (1, 15, 16))]
    passes = asked + asyncio.run(compare(stranger, drawn, 30))
    assert all(taken <= greedy for taken, greedy in passes)
    if block == 1:
        assert all(taken == greedy for taken, greedy in passes)
    else:
        assert sum(taken for taken, _ in asked) < sum(greedy for _, greedy in asked)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (["--block=0"], "--block 0: a block has at least 1 token"),
        (["--block=-3"], "--block -3: a block has at least 1 token"),
        (["--no-chat", "--prompt="], "the context is empty; fill something first"),
        (["--no-chat", "--prompt=" + "a" * 64], "the prompt fills the model's range of 64 tokens; shorten it"),
    ],
)
def test_what_cannot_be_is_an_error_and_holds_nothing(stranger: Reference, wrong: list[str], error: str) -> None:
    ended = run("jacobi_decoding", *wrong, model=str(stranger.path)).outcome.ended
    assert ended.status == "failed"
    assert error in (ended.error or "")


@pytest.mark.parametrize("block", [1, 3, 4, 9])
def test_decoding_ends_where_the_models_range_ends(stranger: Reference, block: int) -> None:
    prompt = "ab" * 30
    ran = run("jacobi_decoding", "--no-chat", f"--prompt={prompt}", f"--block={block}", model=str(stranger.path))
    assert answer(ran) == stranger.decode(stranger.generate(prompt, 4, pad_token_id=0))


def test_no_tokens_are_no_passes(stranger: Reference) -> None:
    ran = run("jacobi_decoding", "--no-chat", "--prompt=a", "--max-tokens=0", model=str(stranger.path))
    assert ran.output == "\n[0 tokens in 0 forward passes]\n"
