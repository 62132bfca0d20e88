"""Sixteen inferlets of the bundled model on a quarter of the pages that they want: who finishes, and with what."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from pie_core.application.events import Ended
from pie_core.application.program import Program
from pie_core.controller import Controller, Settings
from pie_core.policies import PolicyChoice

PROMPTS = [f"{name} went to the market and bought {count} apples." for name in ("Ann", "Bob") for count in range(2, 10)]
STEPS = 40
EACH = 8  # pages of 8 tokens that each inferlet ends up with, at most

# hold and wait: a context takes a page whenever the last is full
GROWING = f"""
from inferlet import *

async def main():
    with get_auto_model().create_context() as context:
        context.fill_tokens(tokenize(context.queue, get_arg()[0]))
        tokens = []
        for step in range({STEPS}):
            if step == 15 and "sleep" in get_arg():
                await sleep(0.5)
            tokens.append((await context.next_dist(1)).max_index())
            context.fill_tokens(tokens[-1:])
        return str(tokens)
"""

# the same, with everything allocated before the start
AT_ONCE = f"""
from inferlet import *

async def main():
    model = get_auto_model()
    q = model.create_queue()
    prompt = ([model.bos_token] if model.bos_token is not None else []) + tokenize(q, get_arg()[0])
    pages = alloc_kvpage(q, {EACH})
    embs = alloc_emb(q, len(prompt))
    last = embs[-1:]
    embed_txt(q, prompt, list(range(len(prompt))), embs)
    forward(q, [], embs, pages, last)
    tokens = []
    for position in range(len(prompt), len(prompt) + {STEPS}):
        tokens.append((await get_next_dist(q, last, 1)).max_index())
        if len(tokens) < {STEPS}:
            embed_txt(q, tokens[-1], position, last)
            forward(q, pages, last, pages, last)
    return str(tokens)
"""


async def run(source: str, contention: str, pages: int, more: Sequence[str] = ()) -> tuple[list[Ended], dict[str, Any]]:
    options = {"pages": str(pages), "page_size": "8", "embeds": "2048", "dtype": "float32", "threads": "1"}
    settings = Settings("pico", "torch", options, contention=PolicyChoice(contention), tier="native")
    async with Controller(settings) as controller:
        program = Program("test", source, "test.py")
        inferlets = [await controller.application.launch(program, [prompt, *more]) for prompt in PROMPTS]
        for inferlet in inferlets:
            arrived = asyncio.Event()
            inferlet.ended.watch(lambda _, arrived=arrived: arrived.set())
            await arrived.wait()
        (model,) = controller.models.values()
        for pool in model.layer.pools.values():
            assert (pool.free, pool.draining, pool.leaving) == (pool.capacity, 0, 0)
        return [inferlet.outcome for inferlet in inferlets if inferlet.outcome], model.layer.statistics.calls


@pytest.fixture(scope="module")
def expected() -> list[str | None]:
    outcomes, calls = asyncio.run(run(GROWING, "fcfs-kill", len(PROMPTS) * EACH))
    assert all(outcome.status == "finished" for outcome in outcomes)
    assert calls["forward"].mean_batch > len(PROMPTS) / 2
    return [outcome.value for outcome in outcomes]


@pytest.mark.parametrize("more", [(), ("sleep",)])
def test_swapping_finishes_all_with_unchanged_output(expected: list[str | None], more: tuple[str, ...]) -> None:
    outcomes, calls = asyncio.run(run(GROWING, "swap", len(PROMPTS) * EACH // 4, more))
    assert [outcome.value for outcome in outcomes] == expected, [outcome.error for outcome in outcomes]
    assert calls["swap_out"].weight > 0 and calls["swap_in"].weight > 0


def test_waiting_finishes_all_that_ask_once_with_unchanged_output(expected: list[str | None]) -> None:
    outcomes, _ = asyncio.run(run(AT_ONCE, "wait", len(PROMPTS) * EACH // 4))
    assert [outcome.value for outcome in outcomes] == expected, [outcome.error for outcome in outcomes]


@pytest.mark.parametrize(("contention", "reason"), [("wait", "to break a cycle"), ("fcfs-kill", "it came last")])
def test_the_newest_of_those_that_cannot_all_go_on_end_with_a_reason(
    expected: list[str | None], contention: str, reason: str
) -> None:
    outcomes, _ = asyncio.run(run(GROWING, contention, len(PROMPTS) * EACH // 4))
    done = [outcome for outcome in outcomes if outcome.status == "finished"]
    assert len(done) >= len(PROMPTS) // 4
    assert [outcome.value for outcome in done] == expected[: len(done)]
    for outcome in outcomes[len(done) :]:
        assert outcome.status == "terminated" and outcome.error is not None
        assert f"{contention!r}" in outcome.error and reason in outcome.error
