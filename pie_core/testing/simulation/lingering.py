"""Commands that run in steps, strewn into a random program, with what may go wrong around one that has not ended."""

from __future__ import annotations

import random
from collections.abc import Callable

from pie_core.testing.simulation.world import Operation

_BEGINNING = 3  # operations of a program or a task that give it something to work with
_STEPS = (1, 1, 2, 3, 5, 8, 20, 40)


def with_lingers(
    operations: tuple[Operation, ...], draw: random.Random, size: int, name: str = ""
) -> tuple[Operation, ...]:
    """The same program with up to four of them, in its tasks too. size: of a page. name: of an export of its own."""
    program = [_inside(operation, draw, size) for operation in operations]
    faulty = draw.random() < 0.3
    for _ in range(draw.randint(1, 4)):
        place = draw.randint(min(_BEGINNING, len(program)), len(program))
        program[place:place] = [_linger(draw, size, faulty), *_behind(draw)]
    if name and draw.random() < 0.2:
        program += _legacy(draw, size, name)
    return tuple(program)


def _inside(operation: Operation, draw: random.Random, size: int) -> Operation:
    verb, *arguments = operation
    if verb not in ("branches", "cancelled") or draw.random() < 0.5:
        return operation
    return verb, *(with_lingers(part, draw, size) if isinstance(part, tuple) else part for part in arguments)


def _legacy(draw: random.Random, size: int, name: str) -> list[Operation]:
    """What is still under way when the program ends, and who imports the pages builds on it, for some time."""
    steps = draw.choice(_STEPS[-3:])
    return [
        ("linger", draw.randrange(3), (), (0,), (0, 1), 0, (steps, size, draw.randint(0, size)), None, False),
        ("forward", draw.randrange(3), (), (0,), (2,), (), None, False),
        ("export", tuple(range(8)), name, draw.choice([None, 0.002, 0.02, 0.2])),
    ]


def _linger(draw: random.Random, size: int, faulty: bool) -> Operation:
    steps, room = draw.choice(_STEPS), draw.randint(0, 2 * size)
    filled = room if draw.random() < 0.5 else draw.randint(0, room)
    fails_at = draw.randrange(steps) if faulty and draw.random() < 0.3 else None
    context, inputs, targets = (_places(draw, least) for least in (0, 1, 1))
    wait = draw.random() < (0.7 if fails_at is not None else 0.3)
    return (
        "linger",
        draw.randrange(3),
        context,
        inputs,
        targets,
        draw.randrange(8),
        (steps, room, filled),
        fails_at,
        wait,
    )


def _behind(draw: random.Random) -> list[Operation]:
    """What comes right behind it, often: something that wants what it touches."""
    line, place = draw.randrange(3), draw.randrange(8)
    choices: list[Callable[[], Operation]] = [
        lambda: ("dist", line, place, 3, draw.choice(["await", "later", "drop"])),
        lambda: ("embed", line, (draw.randrange(200),), draw.randrange(40), place, False),
        lambda: ("forward", line, (), (place,), _places(draw, 1), _places(draw, 0), None, draw.random() < 0.3),
        lambda: ("free_pages", place),
        lambda: ("free_embeds", place),
        lambda: ("pages_again", place),
        lambda: ("rest",),
        lambda: ("synchronize", line),
        lambda: ("sleep", draw.choice([0.0, 0.01, 0.6])),
    ]
    return [draw.choice(choices)() for _ in range(draw.choice([0, 0, 1, 2]))]


def _places(draw: random.Random, least: int) -> tuple[int, ...]:
    return tuple(draw.randrange(8) for _ in range(draw.randint(least, 2)))
