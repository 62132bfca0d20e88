"""How a pass's attention is cut into tiles: some query rows over some pages, each for one program of the kernel.

One kind of work covers all: ragged prefill (many rows of one call over its pages), decoding (few rows, many pages, so
that pages are split over programs, as in Flash-Decoding: Dao et al. 2023) and shared prefixes (rows of many calls over
pages that all see). A row that lies in several tiles gets its result by merging theirs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise

import numpy as np
from pie_backend_torch.building import Ints, Span

from pie_backend_triton.branches import Segment, segments
from pie_backend_triton.tables import Table, table_of

FIELDS = 6  # of a tile: first of `rows`, how many, first of `entries`, how many, depth of these, first part (-1: none)
HEIGHTS = (16, 64, 128)  # query rows of a tile, heads of a group counted; the lowest kind that holds what there is

GRAIN = 128  # tokens


@dataclass(frozen=True, slots=True)
class Cutting:
    """What decides how large tiles are."""

    group: int  # query heads that share a key head
    kv_heads: int
    page_size: int
    programs: int  # that keep the device busy
    least_shared: int = 128  # tokens that calls share at the least, to attend to them together
    least_split: int = 256  # tokens of a tile at the least, where pages are split
    few: int = 128  # tokens of a tile that `attend_one` takes
    heights: tuple[int, ...] = HEIGHTS
    chunk: int | None = None  # entries of a tile at the most, where that is settled

    @property
    def shared(self) -> int:
        """`least_shared` in entries."""
        return -(-self.least_shared // self.page_size)

    def height(self, rows: int) -> int:
        """Of the tiles of a segment that so many tokens attend to."""
        fitting = (each for each in self.heights if each >= self.group and each >= rows * self.group)
        return next(fitting, self.heights[-1])

    def for_calls(self, calls: int) -> Cutting:
        """Of no more than two heights, for passes of at most so many tokens: of one token, and of all."""
        return replace(self, heights=tuple(sorted({self.height(1), self.height(calls)})))

    def for_few(self, entries: int) -> Cutting:
        """Into tiles of `few` tokens, for single tokens that look at so many entries; itself, if those are too many.

        Of few tiles the time is latency, and `attend_one` has the least; of more, longer ones have less to merge.
        """
        chunk = self.few // self.page_size
        few = entries * self.kv_heads <= self.programs * chunk
        return replace(self, chunk=chunk) if few else self

    def split(self, blocks: Sequence[tuple[int, int]]) -> int:
        """Entries of a tile at the most, where tiles of one kind are cut from `blocks` (how many, entries of each).

        Programs run in waves, and the last takes as long as a full one: where there are few blocks they are cut such
        that all their tiles run at once, instead of evenly and in a wave and a bit.
        """
        if self.chunk is not None:
            return self.chunk
        whole = sum(count * size for count, size in blocks)
        even = max(-(-whole * self.kv_heads // self.programs), self.least_split // self.page_size, 1)
        at_once = self.programs // self.kv_heads
        if 2 * sum(count for count, _ in blocks) > at_once:
            return even
        longer = range(even, 2 * even)  # at twice as long, they fit
        return even + bisect_left(
            longer, True, key=lambda chunk: sum(count * -(-size // chunk) for count, size in blocks) <= at_once
        )

    def grain(self, chunk: int) -> int:
        """Entries that tiles of about so many are made of: the slots that kernels look at in one go."""
        return min(1 << chunk.bit_length() - 1, max(1, GRAIN // self.page_size))


@dataclass(slots=True)
class Launch:
    """Tiles of one kind, [n, FIELDS]. `height` rows, heads counted; `masked`: explicit masks instead of causality."""

    height: int
    masked: bool
    tiles: Ints


@dataclass(slots=True)
class Tiling:
    """A pass in tiles."""

    rows: Ints  # query rows of all tiles
    entries: Ints  # of all segments
    words: Ints  # of all explicit masks, [words]
    word_starts: Ints  # [query rows] where a row's words start; one for each entry of its call
    launches: list[Launch]
    merged: Ints  # [n] query rows that are in several tiles
    merge_starts: Ints  # [n + 1] where each one's parts start in
    merge_parts: Ints  # places of parts
    parts: int  # how many parts there are


class _Kind:
    """The tiles of one kind, while they are gathered."""

    def __init__(self, step: int) -> None:
        self.step = step  # rows of a tile
        self.chunk = 1  # entries of a tile at the most
        self.blocks: list[tuple[int, int]] = []  # for each segment: tiles side by side, and entries
        self.rows: list[Ints] = []
        self.places: list[tuple[int, int, int]] = []  # first entry, entries, depth


def tile(spans: Sequence[Span], cutting: Cutting, ordered: bool = False) -> Tiling:
    """Cut a batch of calls; costs some 20 us a call. `ordered`: positions do not tell who sees whom."""
    tables = [table_of(span, cutting.page_size) for span in spans]
    counts = [len(span.slots) for span in spans]
    first: list[int] = np.cumsum([0, *counts]).tolist()
    found = [(one, masked) for masked in (False, True) for one in _segments(tables, masked, cutting)]
    rows = [_rows(one, first) for one, _ in found]
    kinds: dict[tuple[int, bool], _Kind] = {}
    of_each = []
    for (one, masked), row in zip(found, rows, strict=True):
        height = cutting.height(len(row))
        of_each.append(kind := kinds.setdefault((height, masked), _Kind(height // cutting.group)))
        kind.blocks.append((-(-len(row) // kind.step), one.end - one.start))
    for kind in kinds.values():
        kind.chunk = cutting.split(kind.blocks)
    start = 0
    for (one, masked), row, kind in zip(found, rows, of_each, strict=True):
        size, step, chunk = one.end - one.start, kind.step, kind.chunk
        seen = [size] * -(-len(row) // step)
        if len(one.members) == 1 and len(row) > 1 and not masked and not ordered:
            seen = _seen(one, tables[one.members[0]], spans[one.members[0]], step)
        for block, reach in reversed(list(enumerate(seen))):  # what takes longest starts first
            part, bounds = row[block * step :][:step], _pieces(reach, chunk, cutting)
            pieces = len(bounds) - 1
            kind.rows += [part] * pieces
            kind.places += [(start + at, end - at, one.start + at) for at, end in pairwise(bounds)]
        start += size
    words, word_starts = _words(tables, counts)
    entries = np.concatenate([tables[one.members[0]].entries[one.start : one.end] for one, _ in found])
    return _joined(kinds, entries, words, word_starts)


def _pieces(reach: int, chunk: int, cutting: Cutting) -> list[int]:
    """Bounds of pieces of at most about `chunk` entries."""
    grain = cutting.grain(chunk)
    grains = -(-reach // grain)
    pieces = min(-(-reach // chunk), grains)
    return [min(reach, grains * piece // pieces * grain) for piece in range(pieces + 1)]


def _segments(tables: Sequence[Table], masked: bool, cutting: Cutting) -> Iterator[Segment]:
    members = [index for index, table in enumerate(tables) if (table.words is not None) == masked]
    return segments([table.entries for table in tables], members, cutting.shared)


def _rows(segment: Segment, first: list[int]) -> Ints:
    """Query rows of a segment's members; those of call i are first[i] to first[i + 1]."""
    return np.concatenate([np.arange(first[one], first[one + 1]) for one in segment.members])


def _seen(segment: Segment, table: Table, span: Span, step: int) -> list[int]:
    """How many entries of a lone call's segment any of its tokens sees, for each `step` tokens of it.

    None sees tokens that come later in the call, if positions say so.
    """
    size, count = segment.end - segment.start, len(table.own)
    lasts = np.minimum(np.arange(step, count + step, step), count)
    positions = np.array(span.positions, dtype=np.int64)
    highest = np.maximum.accumulate(positions)[lasts - 1]
    later = np.append(np.minimum.accumulate(positions[::-1])[::-1], np.iinfo(np.int64).max)[lasts]
    reached = np.maximum.accumulate(table.own)[lasts - 1] + 1 - segment.start
    seen: list[int] = np.where(later > highest, np.clip(reached, 1, size), size).tolist()
    return seen


def _words(tables: Sequence[Table], counts: list[int]) -> tuple[Ints, Ints]:
    """All explicit masks in one row, and where the words of each query row start in it."""
    widths = [0 if table.words is None else len(table.entries) for table in tables]
    starts = np.cumsum([0, *np.repeat(widths, counts)])[:-1]
    masks = [table.words.reshape(-1) for table in tables if table.words is not None]
    return np.concatenate(masks) if masks else np.zeros(1, dtype=np.int64), starts


def _joined(kinds: dict[tuple[int, bool], _Kind], entries: Ints, words: Ints, word_starts: Ints) -> Tiling:
    """All tiles of all kinds, one kind after the other."""
    parts = list(chain.from_iterable(kind.rows for kind in kinds.values()))
    places = np.array(list(chain.from_iterable(kind.places for kind in kinds.values())), dtype=np.int64)
    counts = np.array([len(part) for part in parts], dtype=np.int64)
    shapes = [(height, masked, len(kind.rows)) for (height, masked), kind in kinds.items()]
    return numbered(shapes, np.concatenate(parts), counts, places, entries, words, word_starts)


def numbered(
    kinds: Sequence[tuple[int, bool, int]],
    rows: Ints,
    counts: Ints,
    places: Ints,
    entries: Ints,
    words: Ints,
    word_starts: Ints,
) -> Tiling:
    """Tiles with their numbers, and what is to be merged.

    kinds: height, whether masked, and how many tiles are of it, one kind after the other. rows: of all tiles; of each
    `counts` [tiles] of them, and `places` [tiles, 3]: its first entry, how many, and their depth.
    """
    starts = np.cumsum(counts) - counts
    times = np.bincount(rows, minlength=len(word_starts))
    several = np.maximum.reduceat(times[rows], starts) > 1
    kept = np.where(several, counts, 0)
    first_part = np.where(several, np.cumsum(kept) - kept, -1)
    tiles: Ints = np.empty((len(counts), FIELDS), dtype=np.int64)
    tiles[:, 0], tiles[:, 1], tiles[:, 2:5], tiles[:, 5] = starts, counts, places, first_part
    of_parts = rows[np.repeat(several, counts)]
    order = np.argsort(of_parts, kind="stable")
    merges = np.bincount(of_parts, minlength=len(times))
    merged = np.flatnonzero(merges)
    merge_starts = np.concatenate([[0], merges[merged].cumsum()])
    launches, at = [], 0
    for height, masked, count in kinds:
        launches.append(Launch(height, masked, tiles[at : at + count]))
        at += count
    return Tiling(rows, entries, words, word_starts, launches, merged, merge_starts, order, parts=int(kept.sum()))
