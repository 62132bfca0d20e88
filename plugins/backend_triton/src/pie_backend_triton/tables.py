"""What each call of a pass looks at: a table of page entries, and its explicit mask in words, one for each entry.

An entry is one page in one number: the page above, below it a bit for each slot that the call may see at all. A page
has at most 32 slots, so a row of an explicit mask is one word for each entry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pie_backend_torch.building import Ints, Span

SHIFT = 32  # bits of an entry below the page


@dataclass(frozen=True, slots=True)
class Table:
    """One call. Context pages come first, then those of its new tokens; a page that is both, and last, once."""

    entries: Ints  # [entries]
    own: Ints  # [tokens] the entry in which each new token lies
    words: Ints | None  # [tokens, entries] what each token sees, of an explicit mask


def table_of(span: Span, page_size: int) -> Table:
    """Entries of a call."""
    if len(span.slots) == 1 and span.mask is None:
        return _table_of_one(span, page_size)
    pages, live = np.array(span.pages, dtype=np.int64), np.array(span.live, dtype=np.int64)
    if 0 in span.live:
        pages, live = pages[live != 0], live[live != 0]
    context: Ints = (pages << SHIFT) | live
    slots = np.array(span.slots, dtype=np.int64)
    ours, own, bits = _own(slots, page_size)
    if len(context) and pages[-1] == ours[0]:
        bits[0] |= live[-1]
        context = context[:-1]
    own += len(context)
    entries: Ints = np.concatenate([context, ours << SHIFT | bits])
    words = None if span.mask is None else _words(span, page_size, live, slots, own, len(entries))
    return Table(entries, own, words)


def _table_of_one(span: Span, page_size: int) -> Table:
    """The same for one new token without a mask: of most calls, of all that decode. Numbers of Python are quicker."""
    page, offset = divmod(span.slots[0], page_size)
    entries = [page << SHIFT | live for page, live in zip(span.pages, span.live, strict=True) if live]
    own = page << SHIFT | 1 << offset
    if entries and entries[-1] >> SHIFT == page:
        entries[-1] |= own
    else:
        entries.append(own)
    return Table(np.array(entries, dtype=np.int64), np.array([len(entries) - 1], dtype=np.int64), None)


def _own(slots: Ints, page_size: int) -> tuple[Ints, Ints, Ints]:
    """Pages of new tokens as they come up, which of them each token is in, and their slots as bits."""
    if len(slots) == 1:  # a step of decoding
        return slots // page_size, np.zeros(1, dtype=np.int64), np.int64(1) << slots % page_size
    pages, first, inverse = np.unique(slots // page_size, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place: Ints = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    own = place[inverse]
    bits: Ints = np.zeros(len(pages), dtype=np.int64)
    np.bitwise_or.at(bits, own, np.int64(1) << slots % page_size)
    return pages[order], own, bits


def _words(span: Span, page_size: int, live: Ints, slots: Ints, own: Ints, entries: int) -> Ints:
    """The mask of a call, whose columns are its live context tokens, then its new ones, by entry."""
    assert span.mask is not None
    entry, offset = np.nonzero((live[:, None] >> np.arange(page_size)) & 1)
    columns = np.concatenate([entry * page_size + offset, own * page_size + slots % page_size])
    dense = np.zeros((len(slots), entries * page_size), dtype=np.int64)
    dense[:, columns] = span.mask
    words: Ints = (dense.reshape(len(slots), entries, page_size) << np.arange(page_size)).sum(-1)
    return words
