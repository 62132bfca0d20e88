"""The tree over page tables: every entry of every call in exactly one segment, and nothing shared left apart."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pie_backend_triton.branches import segments

TABLES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=7)


@settings(max_examples=60, deadline=None)
@given(TABLES, st.integers(1, 4))
def test_segments_cover_every_table_once_and_share_all_that_is_worth_it(tables: list[list[int]], least: int) -> None:
    arrays = [np.array(table) for table in tables]
    found = list(segments(arrays, range(len(arrays)), least))
    for member, table in enumerate(tables):
        mine = [one for one in found if member in one.members]
        assert [place for one in mine for place in range(one.start, one.end)] == list(range(len(table)))
    for one in found:
        assert len({tuple(tables[member][one.start : one.end]) for member in one.members}) == 1
        assert len(one.members) == 1 or one.end - one.start >= least
    for first, table in enumerate(tables):
        for second in range(first):
            agree = 0
            while agree < min(len(table), len(tables[second])) and table[agree] == tables[second][agree]:
                agree += 1
            together = sum(one.end - one.start for one in found if {first, second} <= set(one.members))
            assert agree - together < least
