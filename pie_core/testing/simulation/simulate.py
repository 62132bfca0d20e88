"""Runs a world beside its inferlets run alone, and says what is wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from pie_core.testing.simulation.installed import Installed, load_installed
from pie_core.testing.simulation.isolation import alone, differences
from pie_core.testing.simulation.run import Run
from pie_core.testing.simulation.watch import Violation
from pie_core.testing.simulation.world import World


@dataclass(frozen=True)
class Finding:
    """What a simulation came to. broken: the first rule that did not hold. log: a line for each event."""

    world: World
    broken: str | None
    log: list[str]
    steps: int


def simulate(world: World, installed: Installed | None = None) -> Finding:
    """Run a world and check everything. installed: the traits and policies, found once for many worlds."""
    installed = installed or load_installed()
    with quiet():
        together, broken = _attempt(world, installed)
        if broken is None:
            apart, broken = _attempt(alone(world), installed)
            if broken is not None:
                broken = f"alone: {broken}"
            else:
                count = len(world.visits)
                found = differences(world, together.traces[:count], apart.traces[:count])
                broken = found[0] if found else None
    return Finding(world, broken, together.watch.log, together.loop.steps)


def _attempt(world: World, installed: Installed) -> tuple[Run, str | None]:
    run = Run(world, installed)
    try:
        run.go()
    except Violation as violation:
        return run, str(violation)
    return run, None


@contextmanager
def quiet() -> Iterator[None]:
    """Deliberate failures are not to be logged by the thousand."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
