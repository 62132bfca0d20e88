"""The page table of a context: token i lives in slot i % size of page i // size. Pages may be shared by forks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from inferlet import calls
from inferlet.errors import ArgumentError
from inferlet.handles import KvPage, Queue


class SharedPage:
    """A page and how many contexts of this program hold it."""

    __slots__ = ("handle", "holders")

    def __init__(self, handle: KvPage) -> None:
        self.handle = handle
        self.holders = 1


class PageTable:
    """Pages of one context, in order. A dropped page leaves a gap, so that positions stay what they were."""

    def __init__(self, queue: Queue, page_size: int) -> None:
        self._queue = queue
        self.page_size = page_size
        self.pages: list[SharedPage | None] = []
        self.tokens = 0  # written so far, dropped ones included
        self._handles: list[KvPage] | None = []

    def handles(self) -> list[KvPage]:
        """The pages that are left."""
        if self._handles is None:
            self._handles = [page.handle for page in self.pages if page is not None]
        return self._handles

    def held(self) -> list[int]:
        """The positions of the tokens in the pages that are left."""
        return [at for place, page in enumerate(self.pages) if page is not None for at in self._positions(place)]

    def reserve(self, count: int) -> list[KvPage]:
        """Make room for `count` more tokens; the pages they will go to, in order."""
        lacking = -(-(self.tokens + count) // self.page_size) - len(self.pages)
        if lacking > 0:
            self.pages += map(SharedPage, calls.alloc_kvpage(self._queue, lacking))
            self._handles = None
        first = self.tokens // self.page_size
        self.tokens += count
        return [page.handle for page in self.pages[first:] if page is not None]

    def settle(self, tokens: int) -> None:
        """Only so many were written of what room was made for."""
        kept = -(-tokens // self.page_size)
        self.drop(range(kept, len(self.pages)))
        del self.pages[kept:]
        self.tokens = tokens

    def fork(self, queue: Queue) -> PageTable:
        """A table that shares the full pages and has a copy of the partial one."""
        child = PageTable(queue, self.page_size)
        full = self.tokens // self.page_size
        partial = self.pages[full] if self.tokens % self.page_size else None
        copied = [SharedPage(self._copy(partial.handle))] if partial is not None else []
        for page in self.pages[:full]:
            if page is not None:
                page.holders += 1
        child.tokens = self.tokens
        child.pages = [*self.pages[:full], *copied]
        child._handles = None
        return child

    def own(self, place: int) -> KvPage | None:
        """The page at a place, as one that no fork sees the changes of; None if it was dropped."""
        page = self.pages[place]
        if page is not None and page.holders > 1:
            fresh = SharedPage(self._copy(page.handle))
            self.drop([place])
            self.pages[place] = page = fresh
            self._handles = None
        return None if page is None else page.handle

    def hide(self, hidden: Collection[int], changed: Iterable[int]) -> None:
        """Tell the pages with positions of `changed` which of their tokens are hidden."""
        for place in sorted({position // self.page_size for position in changed if position < self.tokens}):
            page = self.own(place)
            if page is not None:
                first = place * self.page_size
                shown = [at not in hidden for at in range(first, first + self.page_size)]
                calls.mask_kvpage(self._queue, [page], shown)

    def truncate(self, count: int) -> None:
        """Keep the first `count` tokens. A page cut in the middle is copied, not computed again."""
        kept = -(-count // self.page_size)
        inside = count % self.page_size
        if inside and count < self.tokens:
            last = self.pages[kept - 1]
            if last is None:
                raise ArgumentError(
                    f"tokens {count - inside}..{count} were dropped and cannot be cut; keep more, or none"
                )
            fresh = SharedPage(self._copy(last.handle, inside))
            self.drop([kept - 1])
            self.pages[kept - 1] = fresh
        self.drop(range(kept, len(self.pages)))
        del self.pages[kept:]
        self.tokens = count
        self._handles = None

    def drop(self, places: Iterable[int]) -> None:
        """Let pages go, by place; they leave gaps."""
        gone: list[KvPage] = []
        for place in places:
            page, self.pages[place] = self.pages[place], None
            if page is not None:
                page.holders -= 1
                if page.holders == 0:
                    gone.append(page.handle)
        self._handles = None
        if gone:
            calls.dealloc_kvpage(self._queue, gone)

    def drop_unless(self, wanted: Collection[int], end: int) -> int:
        """Let go the pages of which no position is wanted, as far as all are before `end`; how many."""
        places = range(min(end, self.tokens) // self.page_size)
        kept = {position // self.page_size for position in wanted}
        unwanted = [place for place in places if self.pages[place] and place not in kept]
        self.drop(unwanted)
        return len(unwanted)

    def adopt(self, pages: Sequence[KvPage], tokens: int) -> None:
        """Start from full pages that someone else wrote, and perhaps a partial one; go on writing in a fork."""
        assert not self.pages
        self.pages = [SharedPage(page) for page in pages]
        self.tokens = tokens
        self._handles = None

    def _positions(self, place: int) -> range:
        return range(place * self.page_size, min((place + 1) * self.page_size, self.tokens))

    def _copy(self, page: KvPage, length: int | None = None) -> KvPage:
        fresh: list[KvPage] = calls.alloc_kvpage(self._queue, 1)
        calls.copy_kvpage(self._queue, [page], fresh, 0, 0, length)
        return fresh[0]
