"""`python -m pie_core.testing.simulation --seeds 1000`: many seeds, or one with its log."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator
from functools import partial

import click

from pie_core.plugins import Selection
from pie_core.registry import load_registry
from pie_core.testing.simulation.drawing import draw_world
from pie_core.testing.simulation.shrink import shrink
from pie_core.testing.simulation.simulate import simulate
from pie_core.testing.simulation.world import World

_CHUNK = 50  # seeds that a process takes at a time


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seeds", default=1000, show_default=True, help="How many seeds to run.")
@click.option("--first", default=0, show_default=True, help="The first of them.")
@click.option("--seed", type=int, help="Run this seed only.")
@click.option("--trace", is_flag=True, help="Print what happens in it.")
@click.option("--processes", default=1, show_default=True, help="Share the seeds among so many processes.")
@click.option("--dispatch", default="adaptive", show_default=True, help="Dispatch policy, or package.module:Class.")
@click.option("--contention", default="fcfs-kill", show_default=True, help="Contention policy, likewise.")
@click.option("--no-shrink", is_flag=True, help="Print a failing world as it is.")
def main(
    seeds: int,
    first: int,
    seed: int | None,
    trace: bool,
    processes: int,
    dispatch: str,
    contention: str,
    no_shrink: bool,
) -> None:
    """Simulate inferlets on the application and control layers in virtual time, with faults, and check every step."""
    draw = partial(draw_world, dispatch=dispatch, contention=contention)
    if seed is not None:
        world = draw(seed)
        if trace:
            click.echo("\n".join(simulate(world).log))
        sys.exit(_report(seed, world, _failure(world), no_shrink))
    started, done = time.monotonic(), 0
    for number, broken in _all(range(first, first + seeds), draw, processes):
        done += 1
        if broken is not None:
            sys.exit(_report(number, draw(number), broken, no_shrink))
        if sys.stderr.isatty() and done % 100 == 0:
            click.echo(f"\r{done} of {seeds}", nl=False, err=True)
    click.echo(f"{done} seeds from {first} on: nothing is broken ({time.monotonic() - started:.0f} s)")


def _all(seeds: Iterable[int], draw: partial[World], processes: int) -> Iterator[tuple[int, str | None]]:
    if processes == 1:
        registry = load_registry(Selection())
        for seed in seeds:
            yield seed, simulate(draw(seed), registry).broken
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(partial(_one, draw), seeds, _CHUNK)


def _one(draw: partial[World], seed: int) -> tuple[int, str | None]:
    return seed, simulate(draw(seed)).broken


def _failure(world: World) -> str | None:
    return simulate(world).broken


def _report(seed: int, world: World, broken: str | None, no_shrink: bool) -> int:
    """Print what is wrong and the smallest world that shows it; the exit code."""
    if broken is None:
        click.echo(f"seed {seed}: nothing is broken")
        return 0
    click.echo(f"seed {seed}: {broken}")
    if not no_shrink:
        registry = load_registry(Selection())
        world = shrink(world, lambda candidate: simulate(candidate, registry).broken is not None)
        click.echo(f"shrunk, it is: {simulate(world, registry).broken}")
    click.echo(f"{world!r}\nreplay: python -m pie_core.testing.simulation --seed {seed} --trace")
    return 1


if __name__ == "__main__":
    main()
