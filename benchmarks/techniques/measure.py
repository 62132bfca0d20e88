"""All sides of a technique in turns, in one process: a row for each."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace
from typing import Any

from techniques.bench import Bench
from techniques.form import Side, Technique

OURS = "ours"


@dataclass(frozen=True)
class Sample:
    """One round of one side. wall_s until the last client has its answer; tokens and steps of our server's forwards."""

    answers: list[str]
    wall_s: float
    cpu_s: float
    tokens: int
    steps: int


async def take(bench: Bench, side: Side, clients: int) -> Sample:
    """Run one side once."""
    before = replace(bench.forwards)
    wall, cpu = time.perf_counter(), time.process_time()
    answers = await side(bench, clients)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    after = bench.forwards
    return Sample(answers, wall, cpu, after.weight - before.weight, after.batches - before.batches)


async def compare(bench: Bench, technique: Technique, clients: int, rounds: int) -> list[dict[str, Any]]:
    """A row for our side and for each baseline. The first round is not measured, and each begins with another side."""
    sides = {OURS: technique.ours} | {name: baseline.side for name, baseline in technique.baselines.items()}
    order = list(sides)
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name in order[number % len(order) :] + order[: number % len(order)]:
            samples[name].append(await take(bench, sides[name], clients))
    measured = {name: taken[1:] for name, taken in samples.items()}
    rows = [row(technique, name, clients, taken, measured[OURS]) for name, taken in measured.items()]
    if technique.cached is not None:
        rows[0]["tokens_new"] = rows[1]["tokens_run"] - technique.cached(bench, clients)
    return rows


def row(technique: Technique, name: str, clients: int, taken: list[Sample], ours: list[Sample]) -> dict[str, Any]:
    """What is printed of one side."""
    wall = statistics.median(sample.wall_s for sample in taken)
    found = {
        "benchmark": "techniques",
        "technique": technique.name,
        "side": name,
        "clients": clients,
        "latency_ms": round(wall * 1e3, 2),
        "per_s": round(clients / wall, 2),
        "cpu_ms": round(statistics.median(sample.cpu_s for sample in taken) * 1e3, 2),
        "tokens_run": taken[-1].tokens,
        "steps": taken[-1].steps,
        "rounds": len(taken),
    }
    if name == OURS:
        return found
    baseline = technique.baselines[name]
    share = ratio(ours, taken, "wall_s")
    return found | {
        "ours_to_it": share,
        "ours_to_it_cpu": ratio(ours, taken, "cpu_s"),
        "aim": baseline.aim if clients == 1 else None,
        "met": share <= baseline.aim if clients == 1 else None,
        "same_answers": ours[-1].answers == taken[-1].answers if baseline.same else None,
    }


def ratio(ours: list[Sample], theirs: list[Sample], of: str) -> float:
    """Median over the rounds, each round's two sides being neighbours in time."""
    return round(statistics.median(getattr(a, of) / getattr(b, of) for a, b in zip(ours, theirs, strict=True)), 3)
