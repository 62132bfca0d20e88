"""Runs a world beside its inferlets run alone, and says what is wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from pie_core.plugins import Selection
from pie_core.registry import Registry, load_registry
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


def simulate(world: World, registry: Registry | None = None) -> Finding:
    """Run a world and check everything. registry: the installed traits, found once for many worlds."""
    registry = registry or load_registry(Selection())
    with _quiet():
        together, broken = _attempt(world, registry)
        if broken is None:
            apart, broken = _attempt(alone(world), registry)
            if broken is not None:
                broken = f"alone: {broken}"
            else:
                count = len(world.visits)
                found = differences(world, together.traces[:count], apart.traces[:count])
                broken = found[0] if found else None
    return Finding(world, broken, together.watch.log, together.loop.steps)


def _attempt(world: World, registry: Registry) -> tuple[Run, str | None]:
    run = Run(world, registry)
    try:
        run.go()
    except Violation as violation:
        return run, str(violation)
    return run, None


@contextmanager
def _quiet() -> Iterator[None]:
    """Deliberate failures are not to be logged by the thousand."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
