"""Dispatch policies: the same inferlets on one model, the bundled one say, under eager, k-only, t-only and adaptive.

    python benchmarks/policies.py [--model pico] [--device cpu] [--inferlets 128] [--rounds 5] [--k 8,32,64,128]
        [--t-ms 1,2,5,10,20]

First a sweep, one row each, finds the k and the t_ms with the most requests per second. Then those, eager and adaptive
run interleaved in one process, one row each, and as a table on the error stream. A request is an inferlet of the
trusted tier that completes a text by 8 to 64 tokens. As many clients as there are to be inferlets each make REQUESTS of
them, one after the other, so that their steps do not stay abreast. k-only keeps its default patience (without it, it
would not end).
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import structlog
from checkpoints import SHAPES, make_checkpoint
from report import Columns, emit, machine, print_table

from pie_core.application.program import Program
from pie_core.controller import Controller, Settings
from pie_core.policies import PolicyChoice

PROGRAM = Program(
    "completion",
    """
from inferlet import *

async def main():
    prompt, count = get_arg()
    with get_auto_model().create_context() as context:
        await context.fill(prompt)
        answer = []
        for _ in range(int(count)):  # whether the model would end there or not
            answer.append((await context.next_dist(1)).max_index())
            context.fill_tokens(answer[-1:])
        return detokenize(context.queue, answer)
""",
    "completion.py",
)
COLUMNS: Columns = {
    "policy": "policy",
    "options": lambda row: ", ".join(f"{name} = {value}" for name, value in row["options"].items()),
    "requests/s": "requests_per_s",
    "CPU, ms of a request": "cpu_ms_per_request",
    "wall time to adaptive": "wall_to_adaptive",
    "mean batch of forward": "mean_forward_batch",
    "the same answers": "same_answers",
}
REQUESTS = 2  # of each client
PROMPTS = ("The capital of France is", "Ann has two apples and", "Once upon a time there was a king who")


@dataclass(frozen=True)
class Place:
    """What is served where."""

    model: str
    device: str

    @asynccontextmanager
    async def serving(self, name: str, options: Mapping[str, str]) -> AsyncIterator[Controller]:
        """The model under a dispatch policy."""
        backend = {"device": self.device, "threads": "1", "pages": "2048", "embeds": "8192"}
        settings = Settings(self.model, "torch", backend, dispatch=PolicyChoice(name, dict(options)), tier="native")
        async with Controller(settings) as controller:
            yield controller


@dataclass
class Sample:
    """One round of one side."""

    wall_s: float
    cpu_s: float
    answers: list[str | None]


async def measure(controller: Controller, inferlets: int) -> Sample:
    """Run all clients at once, to the end of the last."""

    async def client(place: int) -> list[str | None]:
        answers = []
        for number in range(place, place + REQUESTS):
            inferlet = await controller.application.launch(
                PROGRAM, [PROMPTS[number % len(PROMPTS)], str(8 + number * 7 % 57)]
            )
            arrived = asyncio.Event()
            inferlet.ended.watch(lambda _, arrived=arrived: arrived.set())
            await arrived.wait()
            assert inferlet.outcome is not None and inferlet.outcome.status == "finished", inferlet.outcome
            answers.append(inferlet.outcome.value)
        return answers

    wall, cpu = time.perf_counter(), time.process_time()
    answers = await asyncio.gather(*(client(place) for place in range(inferlets)))
    took = time.perf_counter() - wall, time.process_time() - cpu
    return Sample(*took, [answer for each in answers for answer in each])


async def sweep(
    place: Place, name: str, option: str, values: list[str], inferlets: int, rounds: int, facts: dict[str, Any]
) -> str:
    """The value of an option with the most requests per second; a row for each."""
    async with AsyncExitStack() as stack:
        sides = {value: await stack.enter_async_context(place.serving(name, {option: value})) for value in values}
        samples = await interleaved(sides, inferlets, rounds)
    best = min(samples, key=lambda value: statistics.median(sample.wall_s for sample in samples[value]))
    for value, taken in samples.items():
        emit({"benchmark": "policies-sweep", "policy": name, option: float(value), **figures(taken), **facts})
    return best


async def interleaved(sides: Mapping[str, Controller], inferlets: int, rounds: int) -> dict[str, list[Sample]]:
    """Rounds of all sides, one after the other, after one round that does not count."""
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    for counted in [False] + [True] * rounds:
        for name, controller in sides.items():
            sample = await measure(controller, inferlets)
            if counted:
                samples[name].append(sample)
    return samples


def figures(taken: list[Sample]) -> dict[str, Any]:
    """Medians over the rounds."""
    wall = statistics.median(sample.wall_s for sample in taken)
    return {
        "requests_per_s": round(len(taken[0].answers) / wall, 1),
        "cpu_ms_per_request": round(statistics.median(s.cpu_s for s in taken) / len(taken[0].answers) * 1e3, 2),
        "rounds": len(taken),
    }


async def compare(place: Place, inferlets: int, rounds: int, ks: list[str], periods: list[str]) -> None:
    """The sweeps, then the table."""
    model = Path(place.model).name
    facts = {"inferlets": inferlets, "model": model, "device": place.device, "threads": 1} | machine(place.device)
    chosen: dict[str, dict[str, str]] = {
        "adaptive": {},
        "eager": {},
        "k-only": {"k": await sweep(place, "k-only", "k", ks, inferlets, rounds, facts)},
        "t-only": {"t_ms": await sweep(place, "t-only", "t_ms", periods, inferlets, rounds, facts)},
    }
    async with AsyncExitStack() as stack:
        sides = {name: await stack.enter_async_context(place.serving(name, chosen[name])) for name in chosen}
        samples = await interleaved(sides, inferlets, rounds)
        forwards = {
            name: next(iter(side.models.values())).layer.statistics.calls["forward"] for name, side in sides.items()
        }
    reference, rows = samples["adaptive"], []
    for name, taken in samples.items():
        ratios = [ours.wall_s / theirs.wall_s for ours, theirs in zip(taken, reference, strict=True)]
        row = {
            "benchmark": "policies",
            "policy": name,
            "options": chosen[name],
            **figures(taken),
            "wall_to_adaptive": round(statistics.median(ratios), 3),
            "mean_forward_batch": round(forwards[name].mean_batch, 1),
            "same_answers": taken[0].answers == reference[0].answers,
            **facts,
        }
        rows.append(emit(row))
    print_table(rows, COLUMNS)


@click.command(help=__doc__)
@click.option("--model", default="pico", help="A name, a directory, or a shape of checkpoints.py with random weights.")
@click.option("--device", default="cpu")
@click.option("--inferlets", default=128)
@click.option("--rounds", default=5)
@click.option("--k", "ks", default="8,32,64,128")
@click.option("--t-ms", "periods", default="1,2,5,10,20")
def main(model: str, device: str, inferlets: int, rounds: int, ks: str, periods: str) -> None:
    """Entry point."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as directory:
        given = str(make_checkpoint(model, Path(directory) / model, device)) if model in SHAPES else model
        asyncio.run(compare(Place(given, device), inferlets, rounds, ks.split(","), periods.split(",")))


if __name__ == "__main__":
    main()
