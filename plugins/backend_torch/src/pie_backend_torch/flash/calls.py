"""What FlashInfer must know of a call to choose its kernel: whether it fills its pages from the bottom, in order.

FlashInfer's own causality goes by the place in a table of pages; ours by position. The two agree where a call is
*regular* (all of its pages are full but the last, which holds the newest tokens), its new tokens stand one above the
other, and no token of its context stands above them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from pie_backend_torch.ledger import Ledger
from pie_backend_torch.step import Ints, Span


@dataclass(slots=True)
class Call:
    """One forward call. `ordered` and what follows are told by `judge`, of regular calls."""

    span: Span
    first: int  # row of the pass
    count: int  # new tokens
    context: int = 0  # tokens before them
    table: list[int] = field(default_factory=list)  # pages of context and new tokens; empty: not regular
    live: list[int] = field(default_factory=list)  # bit masks of the table's pages, of context
    ordered: bool = False  # causal by place is causal by position
    consecutive: bool = False  # positions rise by one along the table, so that distances are the same, too
    reach: int = 0  # from the lowest position to the highest

    @property
    def length(self) -> int:
        """Tokens that are looked at, with the new ones."""
        return self.context + self.count

    def fits(self, window: int | None) -> bool:
        """Whether FlashInfer's own causality and window say of this call what positions say."""
        return self.ordered and (window is None or self.consecutive or self.reach < window)


def read_calls(spans: Sequence[Span], size: int) -> list[Call]:
    """The calls of a pass, in order."""
    calls, first = [], 0
    for span in spans:
        call = Call(span, first, len(span.slots))
        first += call.count
        if span.mask is None:
            _lay_out(call, size)
        calls.append(call)
    return calls


def _lay_out(call: Call, size: int) -> None:
    """Set the table, unless there are holes or tokens elsewhere than behind the others."""
    pages, live = list(call.span.pages), list(call.span.live)
    if 0 in live:
        pages = [page for page, bits in zip(pages, live, strict=True) if bits]
        live = [bits for bits in live if bits]
    whole = (1 << size) - 1
    if live and (live[:-1].count(whole) < len(live) - 1 or live[-1] & (live[-1] + 1)):
        return
    at = (len(live) - 1) * size + live[-1].bit_length() if live else 0
    table, context = pages, at
    for slot in call.span.slots:
        page, offset = divmod(slot, size)
        if offset != at % size or (offset and page != table[-1]):
            return
        if not offset:
            table.append(page)
        at += 1
    call.table, call.live, call.context = table, live, context


def judge(calls: Sequence[Call], ledger: Ledger, size: int) -> None:
    """Tell of every regular call whether its positions rise, from what the ledger knows of its context."""
    regular = [call for call in calls if call.table]
    for call in regular:
        _judge_alone(call)
    behind = [call for call in regular if call.ordered and call.context]
    if not behind:
        return
    counts = np.array([len(call.live) for call in behind])
    starts = np.cumsum(counts) - counts
    pages: Ints = np.array([page for call in behind for page in call.table[: len(call.live)]], dtype=np.int64)
    live: Ints = np.array([bits for call in behind for bits in call.live], dtype=np.int64)
    bases, known = ledger.standing(pages, live)
    tokens = np.full(len(pages), size)
    tokens[starts + counts - 1] = [call.context - size * (len(call.live) - 1) for call in behind]
    places = np.arange(len(pages)) - np.repeat(starts, counts)
    joined = bases == np.repeat(bases[starts], counts) + places * size
    known_all, joined_all = (np.logical_and.reduceat(one, starts) for one in (known, joined))
    highest = np.maximum.reduceat(bases + tokens - 1, starts)
    lowest = np.minimum.reduceat(bases, starts)
    for place, call in enumerate(behind):
        begin = call.span.positions[0]
        call.ordered = bool(known_all[place] and begin >= highest[place])
        call.consecutive &= bool(joined_all[place] and begin == lowest[place] + call.context)
        call.reach = int(call.span.positions[-1] - lowest[place])


def _judge_alone(call: Call) -> None:
    """As if the call had no context."""
    positions = call.span.positions
    call.ordered = all(one < other for one, other in pairwise(positions))
    call.reach = positions[-1] - positions[0]
    call.consecutive = call.ordered and call.reach == call.count - 1
