"""Sixty-four inferlets at once: large batches, and every result bitwise what it is alone."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from .conftest import Start, finish

# returns the tokens, and the exact bits of every distribution on the way
SOURCE = """
import json
from inferlet import *

async def main():
    prompt, steps = json.loads(get_arg()[0])
    context = get_auto_model().create_context()
    context.fill_tokens(prompt)
    tokens, bits = [], []
    for _ in range(steps):
        dist = await context.next_dist(8)
        tokens.append(dist.max_index())
        bits.append([list(dist.ids), [p.hex() for p in dist.probs]])
        context.fill_tokens(tokens[-1:])
    return json.dumps([tokens, bits])
"""


def jobs(count: int, seed: int) -> list[list[str]]:
    draw = random.Random(seed)
    lengths = [draw.randrange(1, 120) for _ in range(count)]
    return [[json.dumps([[draw.randrange(3, 259) for _ in range(n)], 24])] for n in lengths]


def test_sixty_four_mixed_inferlets_batch_well_and_are_bitwise_what_they_are_alone(start: Start) -> None:
    work = jobs(64, seed=1)

    async def run() -> tuple[list[str], list[str], float]:
        async with start(pages=1024) as controller:
            together = await finish(controller.application, SOURCE, work)
            counters = next(iter(controller.models.values())).layer.statistics.calls["forward"]
            mean = counters.mean_batch
            alone = [(await finish(controller.application, SOURCE, [job]))[0] for job in work]
            return together, alone, mean

    together, alone, mean = asyncio.run(run())
    assert mean > 32
    assert together == alone


def test_tokens_of_many_inferlets_are_those_of_transformers(start: Start, checkpoint: Path) -> None:
    work = jobs(16, seed=2)

    async def run() -> list[str]:
        async with start() as controller:
            return await finish(controller.application, SOURCE, work)

    ours = [json.loads(result)[0] for result in asyncio.run(run())]
    model = LlamaForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    for job, tokens in zip(work, ours, strict=True):
        prompt, steps = json.loads(job[0])
        out = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            max_new_tokens=steps,
            min_new_tokens=steps,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert out[0, len(prompt) :].tolist() == tokens
