"""What the model has computed of a context, and how more of its tokens are run. It draws none and waits for nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from inferlet import calls
from inferlet.attention import Attention, mask_rows
from inferlet.errors import PieError, ResourceError
from inferlet.handles import Embed, Queue
from inferlet.images import IMAGE, Images
from inferlet.pages import PageTable
from inferlet.states import States

CHUNK = 1024  # tokens run in one forward pass while filling


class Cache:
    """Keys and values of the first tokens of a context (`pages`), and hidden states of some of the last of these.

    The tokens, and the pattern of what they see, are the context's and come with the calls. A token is named by its
    index. What finds no room (`ResourceError`) can be tried again.
    """

    def __init__(self, queue: Queue, page_size: int, adapter: str | None) -> None:
        self.queue = queue
        self.adapter = adapter  # all tokens go through it
        self.pages = PageTable(queue, page_size)
        self.states = States(queue)
        self.images = Images()
        self._hidden: set[int] = set()  # tokens that are masked

    # running

    def run(self, tokens: Sequence[int], upto: int, attention: Attention | None, states: int = 1) -> None:
        """Enqueue forward passes for the tokens before `upto` that were not run; keep the last hidden `states`."""
        upto = self.images.behind(upto)
        if self.pages.tokens >= upto:
            return
        start, kept = upto - states, self.states.make_room(states)
        while (first := self.pages.tokens) < upto:
            last = self._end_of_chunk(first, upto)
            self._run_chunk(tokens[first:last], kept[max(first - start, 0) : max(last - start, 0)], attention)
            if last - 1 in self._hidden:
                self.pages.hide(self._hidden, {last - 1})
        self.states.span = range(start, upto)

    def hidden_states(self, tokens: Sequence[int], count: int, attention: Attention | None) -> list[Embed]:
        """The Embeds with the states of the last `count` tokens, which are run for it if need be."""
        wanted = range(len(tokens) - count, len(tokens))
        if not self.states.hold(wanted):
            self.images.check_uncut(wanted.start, "hidden_states")
            self.forget(wanted.start)
            self.run(tokens, wanted.stop, attention, count)
        return self.states.of(wanted)

    def append(self, embeds: list[Embed], states: list[Embed], attention: Attention | None) -> None:
        """Enqueue one forward pass for the next tokens; the hidden states of the last of them go to `states`."""
        context, mask = self.pages.handles(), self.mask_of_next(len(embeds), attention)
        pages = self.pages.reserve(len(embeds))
        if self.adapter is None:
            calls.forward(self.queue, context, embeds, pages, states, mask)
        else:
            calls.forward_with_adapter(self.queue, self.adapter, context, embeds, pages, states, mask)

    def mask_of_next(self, count: int, attention: Attention | None) -> list[bytearray] | None:
        """What the next `count` tokens see of the pages and of each other; None: all before them."""
        first = self.pages.tokens
        return mask_rows(attention, self.pages.held(), range(first, first + count))

    # shaping

    def forget(self, first: int) -> None:
        """Have the tokens from `first` on run again."""
        if self.pages.tokens > first:
            self.pages.truncate(first)
        self.states.clear()

    def take_back(self, first: int) -> None:
        """As `forget`; all tokens of the page that is cut, and more for an image, if there is no room to copy it."""
        try:
            self.forget(first)
        except ResourceError:
            size = self.pages.page_size
            first -= first % size
            while (image := self.images.at(first)) is not None and image.start < first:
                first = image.start - image.start % size
            self.forget(first)

    def truncate(self, count: int) -> None:
        """Keep what is of the first `count` tokens."""
        self.images.check_between(count, "truncate")
        self.pages.truncate(min(self.pages.tokens, count))
        if gone := self.images.truncate(count):
            calls.dealloc_emb(self.queue, gone)
        self.states.truncate(count)
        self._hidden = {index for index in self._hidden if index < count}

    def hide(self, chosen: Collection[int], visible: bool) -> None:
        """Hide tokens from those that are run from now on, or show them again."""
        self._hidden = self._hidden.difference(chosen) if visible else self._hidden.union(chosen)
        self.pages.hide(self._hidden, chosen)

    def drop_unseen(self, seen: Iterable[int], end: int) -> int:
        """Free the pages before `end` of which no token is among `seen`, or all of those are hidden; how many."""
        return self.pages.drop_unless(set(seen) - self._hidden, end)

    # sharing

    def start_as(self, other: Cache) -> None:
        """Have what another one has: share its full pages and its images, and copy the partial page."""
        self.pages = other.pages.fork(self.queue)
        self.images = Images(other.images.all)
        self._hidden = set(other._hidden)

    def export(self, name: str, ttl: float | None) -> None:
        """Publish the pages under a name."""
        if any(page is None for page in self.pages.pages):
            raise PieError("export: pages of this context were dropped; export before dropping")
        calls.export_kvpage(self.pages.handles(), name, ttl)
        self._go_on_with_a_copy(self.pages)

    def start_from(self, name: str, count: int, images: Sequence[tuple[int, int, int]]) -> None:
        """Have the pages that somebody published under a name, of `count` tokens with such `images` among them."""
        self.images = Images.elsewhere(images)
        imported = PageTable(self.queue, self.pages.page_size)
        imported.adopt(calls.import_kvpage(name), count)
        self._go_on_with_a_copy(imported)

    def _go_on_with_a_copy(self, published: PageTable) -> None:
        """The partial page of what is published is read-only."""
        self.pages = published.fork(self.queue)
        published.drop(range(len(published.pages)))

    def release(self) -> None:
        """Give everything back."""
        self.pages.drop(range(len(self.pages.pages)))
        if embeds := self.states.embeds + self.images.drop():
            calls.dealloc_emb(self.queue, embeds)

    # passes

    def _end_of_chunk(self, first: int, upto: int) -> int:
        """Where the pass that begins with `first` ends: at the latest behind a token that those after it do not see."""
        last = self.images.whole(first, min(upto, first + CHUNK))
        if self._hidden:
            last = next((index + 1 for index in range(first, last) if index in self._hidden), last)
        return last

    def _run_chunk(self, tokens: Sequence[int], states: list[Embed], attention: Attention | None) -> None:
        embeds, unwanted = self._inputs(tokens, states)
        try:
            self.append(embeds, states, attention)
        finally:
            if unwanted:
                calls.dealloc_emb(self.queue, unwanted)

    def _inputs(self, tokens: Sequence[int], states: list[Embed]) -> tuple[list[Embed], list[Embed]]:
        """The Embeds to run for the next tokens, and those of them to be freed then."""
        first = self.pages.tokens
        if len(states) < len(tokens) or IMAGE in tokens:
            return self.images.inputs(self.queue, tokens, first)
        position = self.images.position(first)
        calls.embed_txt(self.queue, tokens, list(range(position, position + len(tokens))), states)
        return states, []
