"""The hidden states of the tokens that a context ran last, in Embeds that are used again."""

from __future__ import annotations

from inferlet import calls
from inferlet.handles import Embed, Queue


class States:
    """Embeds, and the indices (`span`) of the tokens whose hidden states are in the first of them, in order."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.embeds: list[Embed] = []
        self.span = range(0)

    def hold(self, wanted: range) -> bool:
        """Whether the states of these tokens are here."""
        return self.span.start <= wanted.start and wanted.stop <= self.span.stop

    def of(self, wanted: range) -> list[Embed]:
        """The Embeds of tokens that are here."""
        first = wanted.start - self.span.start
        return self.embeds[first : first + len(wanted)]

    def clear(self) -> None:
        """Whatever is in the Embeds, it is the state of no token any more."""
        self.span = range(0)

    def make_room(self, count: int) -> list[Embed]:
        """Embeds for the states of so many tokens. Those that are here are lost."""
        self.clear()
        if len(self.embeds) < count:
            self.embeds += calls.alloc_emb(self._queue, count - len(self.embeds))
        return self.embeds[:count]

    def truncate(self, count: int) -> None:
        """Keep those of tokens before index `count`."""
        self.span = range(min(self.span.start, count), min(self.span.stop, count))

    def put(self, embed: Embed, index: int) -> None:
        """One of the Embeds has the state of the token at `index`, and the others are of no token."""
        self.embeds.insert(0, self.embeds.pop(self.embeds.index(embed)))
        self.span = range(index, index + 1)

    def free(self, embed: Embed) -> None:
        """Give an Embed back, which somebody may still write to."""
        self.embeds.remove(embed)
        calls.dealloc_emb(self._queue, [embed])
