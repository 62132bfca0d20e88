"""Attention patterns: which tokens a token sees. The pattern is the program's; what it means for a context is here."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inferlet.context import Context

Attention = Callable[[int], Sequence[range]]
"""Gets the position of a token; returns the positions that it sees, as ranges of step 1, its own among them.

Nothing after the token is seen, whatever they say. `Context.attention` takes one.
"""


def mask_rows(attention: Attention | None, held: Sequence[int], fresh: range) -> list[bytearray] | None:
    """The mask that has `forward` run the tokens at the positions `fresh` over context tokens at `held`.

    held: rising, and all before `fresh`. A row of 0 and 1 for each fresh token; None if there is no pattern.
    """
    if attention is None:
        return None
    columns, rows = [*held, *fresh], list[bytearray]()
    known: tuple[range, ...] | None = None  # neighbours often see the same spans
    whole = bytearray()
    for end, position in enumerate(fresh, len(held) + 1):
        spans = tuple(attention(position))
        if spans != known:
            known, whole = spans, _row(columns, spans)
        rows.append(whole[:end] + bytes(len(columns) - end))  # nothing after the token
    return rows


def _row(columns: Sequence[int], spans: Sequence[range]) -> bytearray:
    row = bytearray(len(columns))
    for seen in spans:
        first = bisect_left(columns, seen.start)
        last = bisect_left(columns, seen.stop, lo=first)
        row[first:last] = b"\1" * (last - first)
    return row


def roll(context: Context, tokens: Sequence[int], last: int, first: int = 0) -> None:
    """Append tokens to a context of which no later token sees more than its `first` and its `last` ones.

    They are run `last` at a time, and the pages that are seen no more are freed, so that memory stays what it is. Where
    the model's range of positions ends, the `first` stay, the `last` are run again right behind them, and it goes on.
    """
    for start in range(0, len(tokens), last):
        piece = tokens[start : start + last]
        if len(context.tokens) + len(piece) > context.model.max_position:
            recent = context.tokens[max(first, len(context.tokens) - last) :]
            context.truncate(first)
            context.fill_tokens(recent)
        context.fill_tokens(piece)
        context.drop_masked_pages()
