"""What FlashInfer must know of a call to choose its kernel: whether it fills its pages from the bottom, in order.

FlashInfer's own causality goes by the place in a table of pages; ours by position. The two agree where a call is
*regular* (all of its pages are full but the last, which holds the newest tokens), its new tokens stand one above the
other, and no token of its context stands above them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    table: Ints | None = None  # pages of context and new tokens; None: not regular
    last: int = 0  # bit mask of the last of them with context, which is full from the bottom; the others are full
    ordered: bool = False  # causal by place is causal by position
    consecutive: bool = False  # positions rise by one along the table, so that distances are the same, too
    reach: int = 0  # from the lowest position to the highest

    @property
    def length(self) -> int:
        """Tokens that are looked at, with the new ones."""
        return self.context + self.count

    @property
    def pages(self) -> Ints:
        """The table of a regular call."""
        assert self.table is not None
        return self.table

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
    pages, live, whole = call.span.pages, call.span.live, (1 << size) - 1
    if live and not (live[-1] and _all_are(whole, live[:-1])):
        kept = [(page, bits) for page, bits in zip(pages, live, strict=True) if bits]  # others show nothing
        pages, live = [page for page, _ in kept], [bits for _, bits in kept]
        if live and not _all_are(whole, live[:-1]):
            return
    if live and live[-1] & (live[-1] + 1):
        return
    at = (len(live) - 1) * size + live[-1].bit_length() if live else 0
    context, current, new = at, pages[-1] if live else -1, []
    for slot in call.span.slots:
        page, offset = divmod(slot, size)
        if offset != at % size or (offset and page != current):
            return
        if not offset:
            new.append(page)
            current = page
        at += 1
    call.table = np.array([*pages, *new], dtype=np.int64)
    call.last, call.context = live[-1] if live else 0, context


def _all_are(whole: int, live: Sequence[int]) -> bool:
    return live.count(whole) == len(live)


def judge(calls: Sequence[Call], ledger: Ledger, size: int) -> None:
    """Tell of every regular call whether its positions rise, from what the ledger knows of its context."""
    regular = [call for call in calls if call.table is not None]
    for call in regular:
        _judge_alone(call)
    behind = [call for call in regular if call.ordered and call.context]
    if not behind:
        return
    contexts: Ints = np.array([call.context for call in behind], dtype=np.int64)
    counts = -(-contexts // size)
    starts = np.cumsum(counts) - counts
    pages = np.concatenate([call.pages[:count] for call, count in zip(behind, counts.tolist(), strict=True)])
    live: Ints = np.full(len(pages), (1 << size) - 1, dtype=np.int64)
    live[starts + counts - 1] = [call.last for call in behind]
    bases, known = ledger.standing(pages, live)
    tokens = np.full(len(pages), size)
    tokens[starts + counts - 1] = contexts - size * (counts - 1)
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
