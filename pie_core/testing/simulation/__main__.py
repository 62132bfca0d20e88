"""`python -m pie_core.testing.simulation --seeds 1000`: many seeds, or one with its log."""

from __future__ import annotations

import sys
import time
from functools import partial

import click

from pie_core.testing.simulation.drawing import draw_world
from pie_core.testing.simulation.installed import Installed, load_installed
from pie_core.testing.simulation.seeds import simulate_all
from pie_core.testing.simulation.shrink import shrink
from pie_core.testing.simulation.simulate import Finding, simulate

_PROGRESS = 1000  # seeds from one line about how far it is to the next
_POLICY = '"name option=value ..." or package.module:Class.'


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seeds", default=1000, show_default=True, help="How many seeds to run.")
@click.option("--first", default=0, show_default=True, help="The first of them.")
@click.option("--seed", type=int, help="Run this seed only.")
@click.option("--trace", is_flag=True, help="Print what happens in it.")
@click.option("--processes", default=1, show_default=True, help="Share the seeds among so many processes.")
@click.option("--dispatch", metavar="POLICY", help=f"Dispatch policy of all worlds: {_POLICY}  [default: drawn]")
@click.option("--contention", metavar="POLICY", help="Contention policy, likewise.")
@click.option("--keep-going", is_flag=True, help="Run all seeds, whatever is broken, and print those that fail.")
@click.option("--no-shrink", is_flag=True, help="Print a failing world as it is.")
def main(
    seeds: int,
    first: int,
    seed: int | None,
    trace: bool,
    processes: int,
    dispatch: str | None,
    contention: str | None,
    keep_going: bool,
    no_shrink: bool,
) -> None:
    """Simulate inferlets on the application and control layers in virtual time, with faults, and check every step."""
    draw = partial(draw_world, dispatch=dispatch, contention=contention)
    installed = load_installed()
    if seed is not None:
        finding = simulate(draw(seed, installed), installed)
        if trace:
            click.echo("\n".join(finding.log))
        sys.exit(_report(seed, finding, installed, no_shrink))
    started, failed, done = time.monotonic(), list[int](), 0
    for number, broken in simulate_all(range(first, first + seeds), draw, processes):
        done += 1
        if broken is not None:
            failed.append(number)
            _report(number, broken, installed, no_shrink or keep_going)
            if not keep_going:
                break
        if done % _PROGRESS == 0:
            click.echo(f"{done} of {seeds} seeds, {len(failed)} broken ({time.monotonic() - started:.0f} s)", err=True)
    outcome = f"broken are {failed}" if failed else "nothing is broken"
    click.echo(f"{done} seeds from {first} on: {outcome} ({time.monotonic() - started:.0f} s)")
    sys.exit(bool(failed))


def _report(seed: int, finding: Finding, installed: Installed, no_shrink: bool) -> int:
    """Print what is wrong and the smallest world that shows it; the exit code."""
    if finding.broken is None:
        click.echo(f"seed {seed}: nothing is broken")
        return 0
    world = finding.world
    click.echo(f"seed {seed}: {finding.broken}")
    if not no_shrink:
        world = shrink(world, lambda candidate: simulate(candidate, installed).broken is not None)
        click.echo(f"shrunk, it is: {simulate(world, installed).broken}")
    policies = f"--dispatch '{world.dispatch}' --contention '{world.contention}'"
    click.echo(f"{world!r}\nreplay: python -m pie_core.testing.simulation --seed {seed} {policies} --trace")
    return 1


if __name__ == "__main__":
    main()
