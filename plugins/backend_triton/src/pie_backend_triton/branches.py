"""Which calls of a pass look at the same pages: a tree over their page tables, so that a shared page is read once.

Calls that share a prefix of pages (forks of one context, branches of a tree) attend to it together, each then to what
is its own; the parts are merged by their log-sum-exp. That is Hydragen (Juravsky et al. 2024) and ChunkAttention (Ye et
al. 2024) for any depth of sharing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pie_backend_torch.building import Ints


@dataclass(frozen=True, slots=True)
class Segment:
    """Entries `start` to `end` of the page tables of `members`, the same in each."""

    members: list[int]
    start: int
    end: int


@dataclass(slots=True)
class Cuts:
    """Segments in columns: `counts[i]` of `members` look at `entries[i]`, at `starts[i]` in the table of each."""

    members: list[int]
    counts: list[int]
    starts: list[int]
    entries: list[Ints]

    def add(self, members: list[int], start: int, entries: Ints) -> None:
        self.members += members
        self.counts.append(len(members))
        self.starts.append(start)
        self.entries.append(entries)


def cuts(tables: Sequence[Ints], least: int) -> Cuts:
    """The `segments` of all tables, quickly where most look at no page of another."""
    found = Cuts([], [], [], [])
    beginnings: dict[int, list[int]] = {}
    for member, table in enumerate(tables):
        beginnings.setdefault(table.item(0), []).append(member)
    for group in beginnings.values():
        if len(group) == 1 or (least > 1 and all(len(tables[member]) == 1 for member in group)):  # padding
            for member in group:
                found.add([member], 0, tables[member])
            continue
        for one in segments(tables, group, least):
            found.add(one.members, one.start, tables[one.members[0]][one.start : one.end])
    return found


def segments(tables: Sequence[Ints], members: Sequence[int], least: int) -> Iterator[Segment]:
    """Every entry of every member's table [entries] is in exactly one segment of it, in rising order.

    least: entries that a shared segment has at the least; what is shared of shorter ones is not worth a merge.
    """
    yield from _branch(tables, list(members), 0, 0, least)


def _branch(tables: Sequence[Ints], members: list[int], start: int, at: int, least: int) -> Iterator[Segment]:
    """Segments from `start` on of members that agree on the entries from there to `at`."""
    followers: dict[int, list[int]] = {}
    for member in members:
        table = tables[member]
        if len(table) > at:
            followers.setdefault(int(table[at]), []).append(member)
        elif at > start:
            yield Segment([member], start, at)
    for group in followers.values():
        if len(group) == 1:
            yield Segment(group, start, len(tables[group[0]]))
            continue
        end = _agreeing(tables, group, at)
        if end - start < least:
            yield from _branch(tables, group, start, end, least)
        else:
            yield Segment(group, start, end)
            yield from _branch(tables, group, end, end, least)


def _agreeing(tables: Sequence[Ints], group: list[int], at: int) -> int:
    """Up to which entry all of a group agree, who do at `at`."""
    shortest = min(len(tables[member]) for member in group)
    first = tables[group[0]][at:shortest]
    differ = np.zeros(len(first), dtype=bool)
    for member in group[1:]:
        differ |= tables[member][at:shortest] != first
    return at + (int(differ.argmax()) if differ.any() else len(first))
