"""Decoding: transformers `generate` and its continuous batching, our own loop on the torch backend, inferlets.

"steps alone" is what the device thread does of trait decode, without a control layer, programs or bursts: what is left
to inferlets is the tax. Inferlets in four ways: embed, forward and get_next_dist for each token; forward and sample
(trait decode); one decode, as `Context.generate(max_tokens=...)` asks for it; that with a temperature, top-k and top-p.

How much of it the device is idle, and why, is for `exposed.py`.

    python benchmarks/decode.py [--shape 30m] [--dtype bfloat16] [--device cpu] [--threads 1] [--widths 1,8,32,128]
        [--rounds 5] [--backend torch] [--only SIDE;SIDE]

All sides run interleaved in one process on one random checkpoint, without early end. Time per output token (TPOT) is
the difference between a long and a short run over the difference in tokens, so prefill and start cancel. Ratios are
medians over the rounds of neighbours in time, in a random order. `least_` are differences of the least long and the
least short run: what others do on the machine only ever adds. A JSON line for each width and side, then a table on the
error stream. A side that fails is left out, the exit code is 1 then.
"""

from __future__ import annotations

import asyncio
import logging
import random
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import click
import structlog
import torch
import transformers
from checkpoints import VOCABULARY, make_checkpoint
from decode_sides import DRAWN, OWN, Generate, Prompts, sides_of
from report import Columns, Row, emit, machine, print_table

from pie_core.cli.process import keep_freed_memory, spare_what_is_loaded
from pie_core.controller import Controller, Settings

T = TypeVar("T")
SHORT, LONG, PROMPT = 4, 68, 64
COLUMNS: Columns = {
    "side": "side",
    "sequences": "width",
    "ms per token": "tpot_ms",
    "tokens/s": "tokens_per_s",
    "to transformers": "to_transformers",
    "to own loop": "to_own_loop",
    "least to own loop": "least_to_own_loop",
    "to steps alone": "to_steps_alone",
    "CPU to own loop": "cpu_to_own_loop",
    "least CPU to own loop": "least_cpu_to_own_loop",
    "the same tokens": "same_tokens",
}


@dataclass
class Run:
    """One run, in seconds."""

    wall_s: float
    cpu_s: float


@dataclass
class Sample:
    """A short and a long run of one side, one after the other."""

    short: Run
    long: Run

    def took(self, clock: str) -> float:
        """What LONG - SHORT more tokens for every prompt took. clock: a field of `Run`."""
        return float(getattr(self.long, clock) - getattr(self.short, clock))


def least(taken: list[Sample], clock: str) -> float:
    """What they take if nothing else disturbs: the quickest of all long runs less that of all short ones."""
    return float(min(getattr(s.long, clock) for s in taken) - min(getattr(s.short, clock) for s in taken))


def measure(generate: Generate, prompts: Prompts) -> Sample:
    """Both runs of a side."""
    runs = []
    for steps in (SHORT, LONG):
        wall, cpu = time.perf_counter(), time.process_time()
        generate(prompts, steps)
        runs.append(Run(time.perf_counter() - wall, time.process_time() - cpu))
    return Sample(*runs)


@click.command(help=__doc__)
@click.option("--shape", default="30m")
@click.option("--dtype", default="bfloat16")
@click.option("--device", default="cpu")
@click.option("--threads", default=1)
@click.option("--widths", default="1,8,32,128")
@click.option("--rounds", default=5)
@click.option("--backend", default="torch", help="Ours that is measured; its own loop, too.")
@click.option("--only", default="", help="Sides that are measured, parted by semicolons; 'own loop' among them.")
def main(shape: str, dtype: str, device: str, threads: int, widths: str, rounds: int, backend: str, only: str) -> None:
    """Entry point."""
    keep_freed_memory()  # this and what is spared below, as `pie-core serve` does
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(threads)
    numbers = [int(width) for width in widths.split(",")]
    with tempfile.TemporaryDirectory() as directory, asyncio.Runner() as runner:
        path = make_checkpoint(shape, Path(directory) / shape, device)
        options = {"dtype": dtype, "device": device, "threads": str(threads), "pages": str(max(512, 10 * max(numbers)))}
        controller = Controller(Settings(str(path), backend, options, tier="native"))
        runner.run(controller.__aenter__())
        there = sides_of(controller, runner.get_loop(), path, getattr(torch, dtype), device, PROMPT + LONG)
        wanted = chosen(there, only)
        sides = given(wanted)
        spare_what_is_loaded()
        facts = {"shape": shape, "dtype": dtype, "device": device, "threads": threads, "backend": backend}
        facts |= machine(device)
        rows = [row for width in numbers for row in run_width(sides, width, rounds, facts)]
        print_table(rows, COLUMNS)
        runner.run(controller.close())
    sys.exit(0 if len(rows) == len(wanted) * len(numbers) else 1)


def chosen(there: Mapping[str, T], only: str) -> dict[str, T]:
    """The sides of the option, or all."""
    names = only.split(";") if only else list(there)
    if unknown := set(names) - set(there):
        raise click.BadParameter(f"--only: there is no {', '.join(sorted(unknown))}; there are: {'; '.join(there)}")
    if OWN not in names:
        raise click.BadParameter(f"--only: {OWN} is missing, which the others are compared to")
    return {name: there[name] for name in there if name in names}


def given(calls: Mapping[str, Callable[[], T]]) -> dict[str, T]:
    """What each gives, but for those that fail, of which it is told why: the others are measured all the same."""
    results = {}
    for name, call in calls.items():
        try:
            results[name] = call()
        except Exception:  # of transformers, say, whose continuous batching differs from version to version
            print(f"{name}: {traceback.format_exc()}", file=sys.stderr, flush=True)
    return results


def run_width(sides: Mapping[str, Generate], width: int, rounds: int, facts: Row) -> list[Row]:
    """Measure all sides at one width, interleaved, and print a row for each."""
    draw = random.Random(width)
    prompts = [[draw.randrange(5, VOCABULARY) for _ in range(PROMPT)] for _ in range(width)]
    first = {name: partial(generate, prompts, LONG) for name, generate in sides.items()}
    answers = given(first)  # captures what there is to capture
    samples: dict[str, list[Sample]] = {name: [] for name in answers}
    for _ in range(rounds):
        there = draw.sample(list(samples), len(samples))
        taken = given({name: partial(measure, sides[name], prompts) for name in there})
        samples = {name: [*samples[name], taken[name]] for name in samples if name in taken}
    if OWN not in samples:
        raise click.ClickException(f"{OWN} failed, which the others are compared to")
    return [
        emit(
            {"benchmark": "decode", "side": name, "width": width}
            | figures(name, samples, width)
            | {"same_tokens": None if name == DRAWN else answers[name] == answers[OWN], "rounds": rounds}
            | facts
        )
        for name in samples
    ]


def figures(name: str, samples: dict[str, list[Sample]], width: int) -> Row:
    """Of one side: per token, and as a share of others."""
    taken, own, tokens = samples[name], samples[OWN], LONG - SHORT
    wall = statistics.median(sample.took("wall_s") for sample in taken)
    return {
        "tokens_per_s": round(tokens * width / wall, 1),
        "tpot_ms": round(wall / tokens * 1e3, 3),
        "cpu_ms_per_token": round(statistics.median(s.took("cpu_s") for s in taken) / tokens / width * 1e3, 3),
        "to_transformers": _ratio(taken, samples.get("transformers"), "wall_s"),
        "least_tpot_ms": round(least(taken, "wall_s") / tokens * 1e3, 3),
        "to_own_loop": _ratio(taken, own, "wall_s"),
        "least_to_own_loop": round(least(taken, "wall_s") / least(own, "wall_s"), 3),
        "to_steps_alone": _ratio(taken, samples.get("steps alone"), "wall_s"),
        "cpu_to_transformers": _ratio(taken, samples.get("transformers"), "cpu_s"),
        "cpu_to_own_loop": _ratio(taken, own, "cpu_s"),
        "least_cpu_to_own_loop": round(least(taken, "cpu_s") / least(own, "cpu_s"), 3),
    }


def _ratio(ours: list[Sample], theirs: list[Sample] | None, of: str) -> float | None:
    """Median over the rounds, each round's two sides being neighbours in time. None: the other was not measured."""
    if theirs is None:
        return None
    return round(statistics.median(a.took(of) / b.took(of) for a, b in zip(ours, theirs, strict=True)), 3)


if __name__ == "__main__":
    main()
