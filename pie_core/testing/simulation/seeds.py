"""Many seeds, in this process or in several. (What a process is sent cannot live in `__main__`.)"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from functools import partial

from pie_core.testing.simulation.installed import Installed, load_installed
from pie_core.testing.simulation.simulate import Finding, simulate
from pie_core.testing.simulation.world import World

_CHUNK = 50  # seeds that a process takes at a time

Draw = Callable[[int, Installed], World]


def simulate_all(seeds: range, draw: Draw, processes: int) -> Iterator[tuple[int, Finding | None]]:
    """Each seed, and what is broken, if anything is."""
    if processes == 1:
        yield from _some(draw, seeds)
        return
    chunks = [seeds[start : start + _CHUNK] for start in range(0, len(seeds), _CHUNK)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for found in pool.imap(partial(_list, draw), chunks):
            yield from found


def _list(draw: Draw, seeds: range) -> list[tuple[int, Finding | None]]:
    return list(_some(draw, seeds))


def _some(draw: Draw, seeds: range) -> Iterator[tuple[int, Finding | None]]:
    installed = load_installed()
    for seed in seeds:
        finding = simulate(draw(seed, installed), installed)
        yield seed, None if finding.broken is None else finding
