"""Which token sees which, said once more, token by token: the oracle of the attention programs and of the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain, pairwise

Mask = list[list[bool]]
"""A row for each token: what it sees."""


def windowed(tokens: int, window: int) -> Mask:
    """Itself and the `window - 1` tokens before it."""
    return [[0 <= row - column < window for column in range(tokens)] for row in range(tokens)]


def with_sink(tokens: int, sink: int, window: int) -> Mask:
    """The window, and the first `sink` tokens."""
    return [
        [column <= row and (column < sink or row - column < window) for column in range(tokens)]
        for row in range(tokens)
    ]


def hierarchical(chunks: Sequence[int], selected: set[int], summary: int, window: int, tail: int) -> Mask:
    """chunks: their lengths. tail: how many tokens come after them. Chunks see themselves and summaries before them."""
    chunk_of = list(chain.from_iterable([number] * length for number, length in enumerate(chunks)))
    ends = list(accumulate(chunks))
    body, tokens = len(chunk_of), len(chunk_of) + tail

    def sees(row: int, column: int) -> bool:
        if column > row:
            return False
        is_summary = column < body and column >= ends[chunk_of[column]] - summary
        if row < body:
            return is_summary or chunk_of[row] == chunk_of[column]
        return is_summary or row - column < window or (column < body and chunk_of[column] in selected)

    return [[sees(row, column) for column in range(tokens)] for row in range(tokens)]


def modular(modules: Sequence[int], tail: int) -> Mask:
    """modules: their lengths. Each sees itself alone; the `tail` tokens after them see all."""
    bounds = list(pairwise(accumulate(modules, initial=0)))
    body = sum(modules)
    starts = [start for start, end in bounds for _ in range(start, end)]
    return [
        [(row >= body or column >= starts[row]) and column <= row for column in range(body + tail)]
        for row in range(body + tail)
    ]
