"""The ledger vouches only for what stands in the pool. Oracle: a list of positions, written one by one."""

from __future__ import annotations

import random

import numpy as np
import pytest
from pie_backend_torch.ledger import Ledger

PAGES, SIZE = 6, 8


class Written:
    """The ledger and what it is about, and how many slots of it are known."""

    def __init__(self) -> None:
        self.ledger = Ledger(PAGES, SIZE)
        self.positions: list[int | None] = [None] * (PAGES * SIZE)

    def write(self, slots: list[int], positions: list[int]) -> None:
        self.ledger.write(np.array(slots), np.array(positions))
        for slot, position in zip(slots, positions, strict=True):
            self.positions[slot] = position

    def check(self) -> int:
        known = 0
        for slot, position in enumerate(self.positions):
            page, offset = divmod(slot, SIZE)
            (base,), (vouched,) = self.ledger.standing(np.array([page]), np.array([1 << offset]))
            assert not vouched or base + offset == position
            known += vouched
        return known


@pytest.mark.parametrize("seed", range(20))
def test_what_is_vouched_for_stands_there_after_any_writes_copies_and_moves(seed: int) -> None:
    draw = random.Random(seed)
    pool = Written()
    for _ in range(40):
        kind = draw.choice(("fill", "fill", "scatter", "copy", "move"))
        count = draw.randint(1, 12)
        if kind == "fill":
            begin, position = draw.randrange(PAGES * SIZE - count), draw.randrange(4)
            pool.write(list(range(begin, begin + count)), list(range(position, position + count)))
        elif kind == "scatter":
            slots = draw.sample(range(PAGES * SIZE), count)
            pool.write(slots, [draw.randrange(9) for _ in slots])
        elif kind == "copy":
            source, target = (draw.sample(range(PAGES * SIZE), count) for _ in range(2))
            pool.ledger.copy(source, target)
            held = [pool.positions[slot] for slot in source]
            for slot, position in zip(target, held, strict=True):
                pool.positions[slot] = position
        else:
            one, other = draw.sample(range(PAGES), 2)
            pool.ledger.restore([other], pool.ledger.saved([one]))
            pool.positions[other * SIZE : (other + 1) * SIZE] = pool.positions[one * SIZE : (one + 1) * SIZE]
        pool.check()


def test_pages_that_are_filled_in_order_are_known_whole_and_known_again_for_the_next_who_has_them() -> None:
    pool = Written()
    pool.write(list(range(PAGES * SIZE)), list(range(PAGES * SIZE)))
    assert pool.check() == PAGES * SIZE
    pool.write([8, 9], [100, 101])
    assert pool.check() == (PAGES - 1) * SIZE + 2
