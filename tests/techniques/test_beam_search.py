"""Beam search gives the sequences and scores of transformers' beam search, and its beams share pages."""

from __future__ import annotations

import asyncio
from ast import literal_eval
from itertools import product, takewhile
from pathlib import Path

import pytest
import torch

from pie_core.application.program import find_program

from .conftest import Reference
from .running import Ran, run, run_on, serving

PAGES = """
import json
from inferlet import debug_query, send

counted, search_on, _main = [], candidates, main

async def candidates(beams, count):
    found = await search_on(beams, count)
    counted.append(json.loads(debug_query(beams[0].context.queue, "space"))["kvpage"])
    return found

async def main():
    await _main()
    send(str(max(counted)))
"""
Found = list[tuple[float, str]]
LIMIT = 12


def printed(output: str) -> Found:
    lines = [line.split(maxsplit=1) for line in output.splitlines()]
    return [(float(score), literal_eval(text)) for score, text in lines]


def transformers_beams(reference: Reference, prompt: str, width: int, limit: int, **options: object) -> Found:
    ids = torch.tensor([reference.encode(prompt)])
    with torch.no_grad():
        out = reference.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            num_beams=width,
            num_return_sequences=width,
            max_new_tokens=limit,
            pad_token_id=0,
            output_scores=True,
            return_dict_in_generate=True,
            **options,
        )
    new = out.sequences[:, ids.shape[1] :].tolist()
    texts = [list(takewhile(lambda token: token not in reference.ends, row)) for row in new]
    return list(zip(out.sequences_scores.tolist(), map(reference.decode, texts), strict=True))


def assert_same(found: Found, expected: Found) -> None:
    assert [text for _, text in found] == [text for _, text in expected]
    assert [score for score, _ in found] == pytest.approx([score for score, _ in expected], rel=1e-5, abs=1e-4)


def search(oracle: Reference, prompt: str, width: int, **given: object) -> Ran:
    return run("beam_search", *flags(prompt, width, **given), model=str(oracle.path))


def flags(prompt: str, width: int, **given: object) -> list[str]:
    chosen = {"prompt": prompt, "width": width, "max-tokens": LIMIT} | given
    return [f"--{name}={value}" for name, value in chosen.items()]


@pytest.mark.parametrize(
    ("oracle", "prompt", "width"),
    [("reference", "The capital of France is", 4), ("stranger", "Once", 2), ("stranger", "upon a time", 5)],
)
def test_sequences_and_scores_are_those_of_transformers(
    oracle: str, prompt: str, width: int, request: pytest.FixtureRequest
) -> None:
    chosen: Reference = request.getfixturevalue(oracle)
    modes = {"false": False, "true": True, "never": "never"}

    async def compare() -> None:
        async with serving(str(chosen.path)) as controller:
            for penalty, (name, mode) in product([1.0, 0.0, 2.0, -1.0], modes.items()):
                given = {"length-penalty": penalty, "early-stopping": name}
                ran = await run_on(controller, "beam_search", *flags(prompt, width, **given))
                options = {"length_penalty": penalty, "early_stopping": mode}
                assert_same(printed(ran.output), transformers_beams(chosen, prompt, width, LIMIT, **options))

    asyncio.run(compare())


@pytest.mark.parametrize("prompt", ["The capital of France is", "12 + 30 ="])
def test_one_beam_is_greedy(reference: Reference, prompt: str) -> None:
    ((_, text),) = printed(search(reference, prompt, 1).output)
    assert text == reference.decode(reference.generate(prompt, LIMIT))


def test_beams_share_what_they_have_in_common(reference: Reference, tmp_path: Path) -> None:
    """Pages of 16: the prompt is held once, and run once; a beam has its own tokens besides, and one copied page."""
    source = Path(find_program("beam_search").filename).read_text()
    program = tmp_path / "counting.py"
    program.write_text(source + PAGES)
    prompt = reference.chat("Repeat: " + " ".join(["the old sailor reads a letter near the silent harbor"] * 12))
    width, limit, tokens = 8, 20, len(reference.encode(prompt))
    ran = run(program, f"--prompt={prompt}", f"--width={width}", f"--max-tokens={limit}")
    (peak,) = map(int, ran.outcome.messages)
    assert peak <= tokens // 16 + width * 3
    assert peak * 3 < width * ((tokens + limit) // 16)
    assert ran.cost.tokens == tokens + width * (limit - 1)
    assert ran.cost.steps == limit
    assert_same(printed(ran.output), transformers_beams(reference, prompt, width, limit))


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (["--width=0"], "--width 0: at least 1 beam is wanted"),
        (["--width=-2"], "--width -2: at least 1 beam is wanted"),
        (["--max-tokens=0"], "no token can follow: --max-tokens is 0"),
        (["--prompt="], "the context is empty; fill something first"),
        (["--early-stopping=maybe"], "--early-stopping maybe: true, false or never is wanted"),
        (["--prompt=" + "a" * 64], "no token can follow: --max-tokens is 0, or the prompt fills the 64"),
        (["--prompt=" + "a" * 99], "no token can follow: --max-tokens is 0, or the prompt fills the 64"),
    ],
)
def test_a_search_that_cannot_be_is_an_error_and_holds_nothing(
    stranger: Reference, wrong: list[str], error: str
) -> None:
    ended = run("beam_search", *wrong, model=str(stranger.path)).outcome.ended
    assert ended.status == "failed"
    assert error in (ended.error or "")


def test_a_search_ends_where_the_models_range_ends(stranger: Reference) -> None:
    prompt = "a" * 60
    found = search(stranger, prompt, 3)
    assert_same(printed(found.output), transformers_beams(stranger, prompt, 3, 4))


def test_more_beams_than_the_vocabulary_has_tokens(stranger: Reference) -> None:
    found = printed(search(stranger, "Once", 300, **{"max-tokens": 2}).output)
    assert_same(found, transformers_beams(stranger, "Once", 300, 2))
