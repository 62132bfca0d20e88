"""Makes a failing world smaller while it still fails: fewer inferlets, then fewer operations, then fewer faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from pie_core.testing.simulation.world import NEVER, Client, Operation, Visit, World

_QUOTAS = ("kvpage_quota", "embed_quota")

Fails = Callable[[World], bool]


def shrink(world: World, fails: Fails, attempts: int = 2000) -> World:
    """The smallest world found that still fails, after at most so many runs.

    Any failure counts, so that it may end up as another, simpler one.
    """
    left = attempts
    smaller = True
    while smaller and left:
        smaller = False
        for candidate in _candidates(world):
            if not left:
                break
            left -= 1
            if fails(candidate):
                world, smaller = candidate, True
                break
    return world


def _candidates(world: World) -> Iterator[World]:
    """Worlds that are a step simpler, the largest steps first."""
    visits = world.visits
    for place in range(len(visits)):
        if len(visits) > 1:
            yield replace(world, visits=visits[:place] + visits[place + 1 :])
    for place, visit in enumerate(visits):
        for operations in _shorter(visit.operations):
            yield _with(world, place, replace(visit, operations=operations))
    for place, visit in enumerate(visits):
        for calmer in _calmer(visit):
            yield _with(world, place, calmer)
    plain = World(())
    for name in (
        "shuffled",
        "shut_down_at",
        "wall_s",
        "wave_s",
        "swap_s",
        "swap_out_fails",
        "swap_in_fails",
        "outbox",
        "inbox",
        "batch_limit",
        "page_size",
        *_QUOTAS,
    ):
        if getattr(world, name) != getattr(plain, name):
            yield replace(world, **{name: getattr(plain, name)})


def _with(world: World, place: int, visit: Visit) -> World:
    return replace(world, visits=(*world.visits[:place], visit, *world.visits[place + 1 :]))


def _shorter(operations: tuple[Operation, ...]) -> Iterator[tuple[Operation, ...]]:
    """Without the second half, without a quarter, without one; then with the tasks of one cut down."""
    for parts in (2, 4):
        size = len(operations) // parts
        if size > 1:
            for start in reversed(range(0, len(operations), size)):
                yield operations[:start] + operations[start + size :]
    for place in reversed(range(len(operations))):
        yield operations[:place] + operations[place + 1 :]
    for place, (verb, *arguments) in enumerate(operations):
        for at, argument in enumerate(arguments):
            if verb in ("branches", "cancelled") and isinstance(argument, tuple):
                for shorter in _shorter(argument):
                    changed: Operation = (verb, *arguments[:at], shorter, *arguments[at + 1 :])
                    yield (*operations[:place], changed, *operations[place + 1 :])


def _calmer(visit: Visit) -> Iterator[Visit]:
    if visit.stop_after != NEVER:
        yield replace(visit, stop_after=NEVER)
    if visit.arrives:
        yield replace(visit, arrives=0.0)
    if visit.client != Client():
        yield replace(visit, client=Client())
    if visit.client.messages:
        yield replace(visit, client=replace(visit.client, messages=()))
