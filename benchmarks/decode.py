"""Decoding: transformers `generate`, our own loop on the torch backend, and the same work driven by inferlets.

Inferlets in three ways: embed, forward and get_next_dist for each token; forward and sample (trait decode); bursts by
decode, as `Context.generate` asks for them.

    python benchmarks/decode.py [--shape 30m] [--dtype bfloat16] [--device cpu] [--threads 1] [--widths 1,8,32]
        [--rounds 5]

All sides run interleaved in one process on one random checkpoint, greedily, without early end. Time per output token
(TPOT) is the difference between a long and a short run over the difference in tokens, so prefill and start cancel.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import structlog
import torch
import transformers
from checkpoints import VOCABULARY, make_checkpoint
from pie_backend_torch.loop import greedy
from report import emit, machine

from pie_core.application.application import Application
from pie_core.application.events import Ended
from pie_core.application.program import Program
from pie_core.controller import Controller, Settings

SHORT, LONG, PROMPT = 4, 68, 64
Prompts = list[list[int]]
Generate = Callable[[Prompts, int], list[list[int]]]

PROGRAM = """
import json, math
from inferlet import *

async def main():
    steps, prompt = json.loads(get_arg()[0])
    model = get_auto_model()
    q = model.create_queue()
    n = len(prompt)
    pages = alloc_kvpage(q, math.ceil((n + steps) / model.kvpage_size))
    embs, last = alloc_emb(q, n), alloc_emb(q, 1)
    embed_txt(q, prompt, list(range(n)), embs)
    forward(q, [], embs, pages, last)
    answer = []
    LOOP
    return json.dumps(answer)
"""
LOOPS = {
    "inferlets": """
    for position in range(n, n + steps):
        answer.append((await get_next_dist(q, last, 1)).max_index())
        if len(answer) < steps:
            embed_txt(q, answer[-1], position, last)
            forward(q, pages, last, pages, last)
""",
    "inferlets, sample": """
    for position in range(n, n + steps):
        answer.append(await sample(q, last, last))
        if len(answer) < steps:
            forward(q, pages, last, pages, last)
""",
    "inferlets, decode": """
    burst = 32
    while len(answer) < steps:
        most, burst = min(burst, steps - len(answer)), 2 * burst
        answer += await decode(q, pages, last, pages, last, most, answer[-1] if answer else None)
""",
}


@dataclass
class Sample:
    """One long run minus one short run."""

    wall_s: float
    cpu_s: float


def transformers_generate(path: Path, dtype: torch.dtype, device: str) -> Generate:
    """The baseline: transformers with SDPA and its own cache."""
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="sdpa")
    model = model.eval().to(device)

    def generate(prompts: Prompts, steps: int) -> list[list[int]]:
        ids = torch.tensor(prompts, device=device)
        with torch.no_grad():
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=steps,
                min_new_tokens=steps,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )
        return out[:, ids.shape[1] :].tolist()

    return generate


def driven_by_inferlets(application: Application, loop: asyncio.AbstractEventLoop, how: str) -> Generate:
    """One inferlet for each prompt, all at once."""
    program = Program("decode", PROGRAM.replace("    LOOP\n", LOOPS[how]), "decode.py")

    async def run(prompts: Prompts, steps: int) -> list[list[int]]:
        inferlets = [await application.launch(program, [json.dumps([steps, prompt])]) for prompt in prompts]
        answers = []
        for inferlet in inferlets:
            arrived = asyncio.Event()
            inferlet.ended.watch(lambda _, arrived=arrived: arrived.set())
            await arrived.wait()
            outcome = inferlet.outcome
            assert isinstance(outcome, Ended) and outcome.value is not None, outcome
            answers.append(json.loads(outcome.value))
        return answers

    return lambda prompts, steps: loop.run_until_complete(run(prompts, steps))


def measure(generate: Generate, prompts: Prompts) -> Sample:
    """Seconds that LONG - SHORT more tokens for every prompt take."""
    times = []
    for steps in (SHORT, LONG):
        wall, cpu = time.perf_counter(), time.process_time()
        generate(prompts, steps)
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return Sample(times[1][0] - times[0][0], times[1][1] - times[0][1])


@click.command(help=__doc__)
@click.option("--shape", default="30m")
@click.option("--dtype", default="bfloat16")
@click.option("--device", default="cpu")
@click.option("--threads", default=1)
@click.option("--widths", default="1,8,32")
@click.option("--rounds", default=5)
@click.option("--backend", default="torch", help="Ours that is measured; its own loop, too.")
def main(shape: str, dtype: str, device: str, threads: int, widths: str, rounds: int, backend: str) -> None:
    """Entry point."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as directory, asyncio.Runner() as runner:
        path = make_checkpoint(shape, Path(directory) / shape, device)
        pages = max(512, 10 * max(map(int, widths.split(","))))
        options = {"dtype": dtype, "device": device, "threads": str(threads), "pages": str(pages)}
        settings = Settings(str(path), backend, options, tier="native")
        controller = Controller(settings)
        runner.run(controller.__aenter__())
        loaded = next(iter(controller.models.values()))
        sides: dict[str, Generate] = {
            "transformers": transformers_generate(path, getattr(torch, dtype), device),
            "own loop": lambda prompts, steps: greedy(loaded.backend, prompts, steps),
        }
        for how in LOOPS:
            sides[how] = driven_by_inferlets(controller.application, runner.get_loop(), how)
        facts = {"shape": shape, "dtype": dtype, "device": device, "threads": threads, "backend": backend} | machine(
            device
        )
        for width in map(int, widths.split(",")):
            run_width(sides, width, rounds, facts)
        runner.run(controller.close())


def run_width(sides: dict[str, Generate], width: int, rounds: int, facts: dict[str, object]) -> None:
    """Measure all sides at one width, interleaved, and print a row for each."""
    draw = random.Random(width)
    prompts = [[draw.randrange(5, VOCABULARY) for _ in range(PROMPT)] for _ in range(width)]
    answers = {name: generate(prompts, SHORT) for name, generate in sides.items()}
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, generate in sides.items():
            samples[name].append(measure(generate, prompts))
    tokens = LONG - SHORT
    for name, taken in samples.items():
        wall = statistics.median(sample.wall_s for sample in taken)
        emit(
            {
                "benchmark": "decode",
                "side": name,
                "width": width,
                "tokens_per_s": round(tokens * width / wall, 1),
                "tpot_ms": round(wall / tokens * 1e3, 3),
                "cpu_ms_per_token": round(statistics.median(s.cpu_s for s in taken) / tokens / width * 1e3, 3),
                "to_transformers": _ratio(taken, samples["transformers"], "wall_s"),
                "to_own_loop": _ratio(taken, samples["own loop"], "wall_s"),
                "cpu_to_transformers": _ratio(taken, samples["transformers"], "cpu_s"),
                "cpu_to_own_loop": _ratio(taken, samples["own loop"], "cpu_s"),
                "same_tokens": answers[name] == answers["own loop"],
                "rounds": rounds,
            }
            | facts
        )


def _ratio(ours: list[Sample], theirs: list[Sample], of: str) -> float:
    """Median over the rounds, each round's two sides being neighbours in time."""
    return round(statistics.median(getattr(a, of) / getattr(b, of) for a, b in zip(ours, theirs, strict=True)), 3)


if __name__ == "__main__":
    main()
