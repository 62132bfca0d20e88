"""Techniques against their baselines: `make bench-techniques`, or in benchmarks/: `python -m techniques [NAME ...]`."""

from __future__ import annotations

import asyncio
import logging
import pkgutil
from collections.abc import Sequence
from importlib import import_module

import click
import structlog
import torch
import transformers
from report import emit, machine, print_table

from techniques import sides
from techniques.bench import Bench, Settled
from techniques.form import Technique
from techniques.measure import compare
from techniques.table import COLUMNS, against


def modules() -> list[str]:
    """Those of `sides/`."""
    return sorted(module.name for module in pkgutil.iter_modules(sides.__path__))


def techniques(names: Sequence[str]) -> list[Technique]:
    """What the modules of these names offer."""
    return [each for name in names for each in import_module(f"techniques.sides.{name}").TECHNIQUES]


async def run(chosen: Sequence[Technique], clients: Sequence[int], rounds: int, settled: Settled) -> None:
    """All rows, as JSON lines, then the table, on the error stream so that the lines can be kept."""
    facts, rows = vars(settled) | machine(), []
    async with Bench(settled) as bench:
        for count in clients:
            for technique in chosen:
                found = await compare(bench, technique, count, rounds)
                rows += [emit(row | facts) for row in found]
    print_table(against(rows), COLUMNS)


@click.command(help=__doc__)
@click.argument("names", nargs=-1)
@click.option("--clients", default="1,8", help="How many ask at once: 1 is latency, more is throughput.")
@click.option("--rounds", default=5, type=click.IntRange(1))
@click.option("--model", default="pico")
@click.option("--dtype", default="float32")
@click.option("--threads", default=1)
@click.option("--tier", default="native", type=click.Choice(["native", "wasm"]))
def main(names: tuple[str, ...], clients: str, rounds: int, model: str, dtype: str, threads: int, tier: str) -> None:
    """Entry point."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(threads)
    if unknown := set(names) - set(modules()):
        raise click.BadParameter(f"no module of sides/ is named {', '.join(sorted(unknown))}; there are {modules()}")
    chosen = techniques(names or modules())
    asyncio.run(run(chosen, [int(count) for count in clients.split(",")], rounds, Settled(model, dtype, threads, tier)))


if __name__ == "__main__":
    main()
