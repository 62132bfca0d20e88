"""Tiles of decode steps: calls of one new token each, without masks, cut by numpy over all of them at once.

The host plans such a pass while the device waits or works, so this is to be quick: what `tiles.tile` does in Python for
each segment is a few operations over columns here. The rules are its own (`Cutting`), and the tiles are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from pie_backend_torch.building import Ints, ranges

from pie_backend_triton.branches import cuts
from pie_backend_triton.tiles import Cutting, Tiling, numbered


def tile_steps(tables: Sequence[Ints], cutting: Cutting) -> Tiling:
    """What `tile` makes of calls of one token each, given the entries that each looks at."""
    found = cuts(tables, cutting.shared)
    counts, starts = np.array(found.counts, dtype=np.int64), np.array(found.starts, dtype=np.int64)
    sizes = np.array([len(entries) for entries in found.entries], dtype=np.int64)
    by_count = {count: cutting.height(count) for count in dict.fromkeys(found.counts)}
    heights = np.array([by_count[count] for count in found.counts], dtype=np.int64)
    step = heights // cutting.group
    blocks = -(-counts // step)
    kinds = dict.fromkeys(by_count.values())  # as they come up; the tiles of one stand together
    chunk, grain, order = np.empty_like(sizes), np.empty_like(sizes), []
    for height in kinds:
        own = np.flatnonzero(heights == height)
        alike = Counter(zip(sizes[own].tolist(), blocks[own].tolist(), strict=True))
        chunk[own] = most = cutting.split([(many * count, size) for (size, count), many in alike.items()])
        grain[own] = cutting.grain(most)
        order.append(own)
    grains = -(-sizes // grain)
    pieces = np.minimum(-(-sizes // chunk), grains)
    times = blocks * pieces
    placed = np.concatenate(order)
    owner = placed.repeat(times[placed])
    number = np.arange(len(owner)) - _before(times[placed]).repeat(times[placed])
    block, piece = np.divmod(number, pieces[owner])
    block = blocks[owner] - 1 - block  # as those of a call of several tokens, of which the last take longest
    size, split, whole, unit, ahead = sizes[owner], pieces[owner], grains[owner], grain[owner], block * step[owner]
    begin = np.minimum(size, whole * piece // split * unit)
    taken = np.minimum(counts[owner] - ahead, step[owner])
    rows = np.array(found.members, dtype=np.int64)[ranges(_before(counts)[owner] + ahead, taken)]
    places: Ints = np.empty((len(owner), 3), dtype=np.int64)
    places[:, 0], places[:, 2] = _before(sizes)[owner] + begin, starts[owner] + begin
    places[:, 1] = np.minimum(size, whole * (piece + 1) // split * unit) - begin
    shapes = [(height, False, int(times[own].sum())) for height, own in zip(kinds, order, strict=True)]
    none: Ints = np.zeros(1, dtype=np.int64)
    word_starts: Ints = np.zeros(len(tables), dtype=np.int64)
    return numbered(shapes, rows, taken, places, np.concatenate(found.entries), none, word_starts)


def _before(counts: Ints) -> Ints:
    """The sums of all that stand before."""
    sums: Ints = counts.cumsum() - counts
    return sums
