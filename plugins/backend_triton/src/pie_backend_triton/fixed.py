"""A tiling in arrays whose lengths depend on a `Room` alone, so that a CUDA graph can keep what they drive."""

from __future__ import annotations

import numpy as np
from pie_backend_torch.building import Ints
from pie_backend_torch.kernels import Room

from pie_backend_triton.tiles import FIELDS, Cutting, Launch, Tiling


def fitted(tiling: Tiling, room: Room, cutting: Cutting) -> Tiling:
    """The same tiles, and empty ones up to what any decode steps in this room can need. cutting: for these calls.

    Raises `ValueError` for calls that are too many, or look at too many pages.
    """
    calls = len(tiling.word_starts)
    if calls > room.calls or len(tiling.entries) > room.entries:
        raise ValueError(f"{calls} rows over {len(tiling.entries)} pages do not fit in {room}")
    pieces = cutting.programs // cutting.kv_heads if cutting.chunk is None else room.entries // cutting.chunk
    most = 2 * room.calls + pieces + 1  # tiles of a kind: of segments, and of their splits
    parts = most * sum(height // cutting.group for height in cutting.heights)
    found = {launch.height: launch.tiles for launch in tiling.launches}
    none: Ints = np.empty((0, FIELDS), dtype=np.int64)
    return Tiling(
        rows=_filled(tiling.rows, parts),
        entries=_filled(tiling.entries, room.entries),
        words=tiling.words,
        word_starts=_filled(tiling.word_starts, room.calls),
        launches=[Launch(height, False, _tiles(found.get(height, none), most)) for height in cutting.heights],
        merged=_filled(tiling.merged, room.calls),
        merge_starts=_filled(tiling.merge_starts, room.calls + 1, int(tiling.merge_starts[-1])),
        merge_parts=_filled(tiling.merge_parts, parts),
        parts=parts,
    )


def _tiles(tiles: Ints, count: int) -> Ints:
    return _filled(tiles.reshape(-1), count * FIELDS).reshape(count, FIELDS)


def _filled(array: Ints, length: int, value: int = 0) -> Ints:
    if len(array) > length:
        raise ValueError(f"{len(array)} numbers where {length} have room: these are no decode steps of one token each")
    filled: Ints = np.zeros(length, dtype=np.int64)
    filled[: len(array)] = array
    if value:
        filled[len(array) :] = value
    return filled
