"""Random programs: as likely to conflict, to run dry and to go wrong as they can be, within what each may hold.

What a program *allocates* in all is at most its share, so that only contention and deliberate mistakes refuse it; and
what its tasks do at a time touches different things, so that its notes do not depend on timing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from pie_core.testing.simulation.faults import BAD_DISTS, BAD_INPUTS, BAD_TOKENS
from pie_core.testing.simulation.world import Operation

WRONG = (
    "stale page",
    "foreign page",
    "foreign page to read",
    "foreign embed",
    "foreign queue",
    "twice",
    "too many",
    "type",
    "no name",
    "mask",
)


@dataclass
class Share:
    """What a program may still allocate."""

    pages: int
    embeds: int


class Author:
    """Writes one program.

    name: what its exports' names begin with; known: names that others may have exported; hungry: it holds much, and
    waits often.
    """

    def __init__(
        self, draw: random.Random, share: Share, page_size: int, name: str, known: list[str], hungry: bool
    ) -> None:
        self._draw = draw
        self._share = share
        self._size = page_size
        self._name = name
        self._known = known
        self._hungry = hungry
        self.exports: list[str] = []
        self.receives = 0
        self._lasting: list[str] = []  # exports without an end
        self._faulty = draw.random() < 0.3
        self._awaits = draw.choice([0.0, 0.2, 0.7])  # how often it waits for a command

    def program(self, length: int) -> tuple[Operation, ...]:
        """The main task."""
        draw = self._draw
        operations = self._begin(draw.randint(1, 3) + self._hungry, draw.randint(1, 4) + self._hungry)
        if draw.random() < 0.1:
            operations.append(("stubborn", draw.randint(1, 2)))
        operations += [self._operation(main=True) for _ in range(length)]
        extra = [self._burst()] if self._faulty and draw.random() < 0.5 else []
        extra += [self._turnover() for _ in range(draw.choice([0, 1, 2, 3] if self._hungry else [0, 0, 1, 3]))]
        for part in extra:
            place = draw.randrange(3, len(operations) + 1)
            operations[place:place] = part
        if draw.random() < 0.1:
            operations.insert(draw.randrange(len(operations)), (draw.choice(["leave", "raise", "exit"]),))
        if draw.random() < 0.3:
            operations.append(("synchronize", 0))
        return tuple(operations)

    def _begin(self, pages: int, embeds: int) -> list[Operation]:
        pages, embeds = min(pages, self._share.pages), min(embeds, self._share.embeds)
        self._share.pages -= pages
        self._share.embeds -= embeds
        return [("pages_wanted", pages), ("embeds_wanted", embeds), self._embed(fail=False)]

    def _operation(self, main: bool) -> Operation:
        common = [self._forward] * 6 + [self._embed] * 4 + [self._decode] * 2 + [self._copy] * 2 + [self._dist] * 4
        common += [self._mask, self._allocate, self._allocate, self._free, self._wrong, self._wait, self._queue]
        common += [self._wait] * (3 * self._hungry)
        if main:
            common += [
                self._orphan,
                self._export,
                self._import,
                self._release,
                self._message,
                self._message,
                self._branches,
            ]
        chosen: Callable[[], Operation] = self._draw.choice(common)
        return chosen()

    def _places(self, most: int, least: int = 1) -> tuple[int, ...]:
        return tuple(self._draw.randrange(8) for _ in range(self._draw.randint(least, most)))

    def _line(self) -> int:
        return self._draw.randrange(3)

    def _waits(self) -> bool:
        return self._draw.random() < self._awaits

    def _bad(self) -> bool:
        return self._faulty and self._draw.random() < 0.2

    def _embed(self, fail: bool = True) -> Operation:
        draw = self._draw
        tokens = [draw.randrange(200) for _ in range(draw.randint(1, 4))]
        wait = self._waits()
        if fail and self._bad():
            tokens[0] = draw.choice(sorted(BAD_TOKENS | BAD_INPUTS))
            wait = draw.random() < 0.6
        return ("embed", self._line(), tuple(tokens), draw.randrange(40), draw.randrange(8), wait)

    def _forward(self) -> Operation:
        mask = self._draw.randrange(1000) if self._draw.random() < 0.25 else None
        wait = self._waits() or (self._faulty and self._draw.random() < 0.8)
        inputs, targets = self._places(3), self._places(2)
        return ("forward", self._line(), self._places(3, 0), inputs, targets, self._places(2, 0), mask, wait)

    def _burst(self) -> list[Operation]:
        """A command that fails, what reads it in the next wave, and a change of mind, all without waiting."""
        draw = self._draw
        line, page, one, other = self._line(), draw.randrange(4), draw.randrange(4), draw.randrange(4)
        return [
            ("embed", line, (draw.choice(sorted(BAD_TOKENS)),), draw.randrange(40), one, False),
            ("forward", line, (), (other,), (page,), (), None, False),
            ("forward", line, (), (one,), (page,), (), None, False),
            draw.choice([("free_embeds", one), ("embed", line, (1,), 1, one, False), ("free_pages", page)]),
            ("dist", line, one, 3, "await"),
        ]

    def _turnover(self) -> list[Operation]:
        """Pages are freed while they are in use, and as many wanted at once."""
        pages = self._places(2)
        before, after = self._forward(), self._forward()
        return [before, ("pages_again", *pages), after]

    def _decode(self) -> Operation:
        return ("decode", self._line(), self._draw.randint(1, 3), self._draw.choice([1, 5]))

    def _copy(self) -> Operation:
        draw, most = self._draw, self._size - 1
        start, target, length = draw.randint(0, most // 2), draw.randint(0, most // 2), draw.randint(0, most // 2 + 1)
        wait = self._waits()
        if start == 1 and length == 0:
            wait = draw.random() < 0.6
            length = 0 if self._bad() else 1
        return ("copy", self._line(), self._places(2), self._places(2), start, target, length, wait)

    def _dist(self) -> Operation:
        top_k = self._draw.choice(sorted(BAD_DISTS)) if self._bad() else self._draw.choice([1, 3, 8])
        how = self._draw.choice(["await", "await", "await", "drop", "later"])
        return (
            ("collect",) if self._draw.random() < 0.1 else ("dist", self._line(), self._draw.randrange(8), top_k, how)
        )

    def _mask(self) -> Operation:
        return ("mask", self._places(2), self._draw.randrange(1 << 2 * self._size))

    def _allocate(self) -> Operation:
        share, draw = self._share, self._draw
        if draw.random() < 0.6 and share.pages:
            count = draw.randint(1, min(3, share.pages))
            share.pages -= count
            return ("pages_wanted", count)
        count = draw.randint(0, min(4, share.embeds))
        share.embeds -= count
        return ("embeds_wanted", count)

    def _free(self) -> Operation:
        return (self._draw.choice(["free_pages", "free_embeds"]), *self._places(2))

    def _wrong(self) -> Operation:
        return ("wrong", self._draw.choice(WRONG), self._draw.randint(0, 40))

    def _wait(self) -> Operation:
        if self._draw.random() < 0.5:
            return ("synchronize", self._line())
        return ("sleep", self._draw.choice([0.0, 0.001, 0.01, 0.05] + [0.6] * self._hungry))

    def _orphan(self) -> Operation:
        return ("orphan",) if self._draw.random() < 0.3 else self._wait()

    def _queue(self) -> Operation:
        if self._draw.random() < 0.5:
            return ("queue", self._draw.randint(-2, 2))
        return ("priority", self._line(), self._draw.randint(-2, 2))

    def _export(self) -> Operation:
        draw = self._draw
        if self.exports and draw.random() < 0.2:
            return ("exported",)
        name = f"{self._name}{len(self.exports)}"
        self.exports.append(name)
        ttl = draw.choice([0.02, 0.2]) if draw.random() < 0.3 else None
        if ttl is None:
            self._lasting.append(name)
        return ("export", self._places(2), name, ttl)

    def _import(self) -> Operation:
        others = [*self._known, *self.exports]
        if not others or self._share.pages < 2:
            return self._forward()
        self._share.pages -= 2  # as many as an export may have
        return ("import", self._draw.choice(others), self._draw.choice([1, 1, 5]))

    def _release(self) -> Operation:
        """Only of what has no end by itself, so that the outcome does not depend on time."""
        return ("release", self._draw.choice(self._lasting)) if self._lasting else self._wrong()

    def _message(self) -> Operation:
        chance = self._draw.random()
        if chance < 0.6:
            return ("send",)
        self.receives += 1
        return ("receive",) if chance < 0.8 else ("receive_within", self._draw.choice([0.001, 0.005, 0.02]))

    def _branches(self) -> Operation:
        draw = self._draw
        if draw.random() < 0.5:
            return ("cancelled", draw.choice([0.0, 0.001, 0.01, 0.05]), self._branch())
        return ("branches", *(self._branch() for _ in range(draw.randint(2, 3))))

    def _branch(self) -> tuple[Operation, ...]:
        operations = self._begin(1, 2)
        return tuple(operations + [self._operation(main=False) for _ in range(self._draw.randint(1, 5))])
