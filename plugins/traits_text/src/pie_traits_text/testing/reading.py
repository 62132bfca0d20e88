"""How the suites look at a model: through its own distributions, compared as log-probabilities.

A case says that two ways to compute something give the same next-token distribution, or that a difference shows in it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from pie_core.testing.conformance import TraitSuite
from pie_core.testing.rig import Program
from pie_traits_text.output_text import Dist

FLOOR = 1e-6  # probabilities below are rounding

Reading = list[float]
"""Log-probability of every token of the vocabulary, none below that of `FLOOR`."""


def distance(one: Reading, other: Reading) -> float:
    """The largest difference of log-probability over the vocabulary."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


class Writer:
    """The calls of one inferlet in the suites' words. Pages and Embeds are lists of handles."""

    def __init__(self, program: Program, page_size: int) -> None:
        self.program = program
        self.call = program.call
        self._size = page_size

    def pages(self, tokens: int) -> list[int]:
        """Fresh pages with room for so many tokens."""
        pages: list[int] = self.call("alloc_kvpage", -(-tokens // self._size))
        return pages

    def embeds(self, count: int) -> list[int]:
        """Fresh Embeds, unwritten."""
        embeds: list[int] = self.call("alloc_emb", count)
        return embeds

    def embed(self, tokens: Sequence[int], positions: Iterable[int]) -> list[int]:
        """Fresh Embeds of tokens."""
        embeds = self.embeds(len(tokens))
        self.call("embed_txt", list(tokens), list(positions), embeds)
        return embeds

    def forward(
        self,
        tokens: Sequence[int],
        positions: Iterable[int],
        context: Sequence[int] = (),
        into: Sequence[int] | None = None,
        mask: Any = None,
        adapter: str | None = None,
    ) -> list[int]:
        """Run tokens after a context and return their output Embeds, one each.

        into: the pages that take them, fresh ones if None.
        """
        embeds = self.embed(tokens, positions)
        pages = self.pages(len(tokens)) if into is None else list(into)
        arguments = [list(context), embeds, pages, embeds, *([] if mask is None else [mask])]
        if adapter is None:
            self.call("forward", *arguments)
        else:
            self.call("forward_with_adapter", adapter, *arguments)
        return embeds

    def whole(self, tokens: Sequence[int], room: int = 0) -> tuple[list[int], list[int]]:
        """Run a text from position 0 in one call: (pages, with room for more tokens, and output Embeds)."""
        pages = self.pages(len(tokens) + room)
        return pages, self.forward(tokens, range(len(tokens)), (), pages)

    def read(self, embeds: Sequence[int]) -> list[Reading]:
        """The distribution at each of the Embeds, once everything has run."""
        tickets = [self.call("get_next_dist", [embed], None) for embed in embeds]
        self.program.rig.loop.run()
        return [_reading(ticket.result()) for ticket in tickets]

    def last(self, embeds: Sequence[int]) -> Reading:
        """The distribution at the last of the Embeds."""
        return self.read(embeds[-1:])[0]


class TextSuite(TraitSuite):
    """Cases that compare distributions.

    tolerance: up to which difference of log-probability two distributions are the same; what differs, differs by more.
        The default is for float32.
    batch_tolerance: the same for a command that runs in different company; 0 where results do not depend on the batch.
    """

    uses = ("forward", "input_text", "output_text")
    tolerance: ClassVar[float] = 1e-3
    batch_tolerance: ClassVar[float] = 0.0

    @property
    def size(self) -> int:
        """Token slots of a page."""
        return self.subject.backend.info.kvpage_size

    def writer(self, name: str = "a", **settings: Any) -> Writer:
        """An inferlet that arrives now."""
        return Writer(self.open_program(name, **settings), self.size)

    def tokens(self, count: int, seed: int = 0) -> list[int]:
        """Tokens drawn from the whole vocabulary, no two the same while there are enough."""
        chance, vocab = random.Random(seed), self.subject.backend.info.vocab_size
        return chance.sample(range(vocab), count) if count <= vocab else chance.choices(range(vocab), k=count)

    def check_same(self, one: Reading, other: Reading, tolerance: float | None = None) -> None:
        """Two ways to compute it give one distribution."""
        __tracebackhide__ = True
        assert distance(one, other) <= (self.tolerance if tolerance is None else tolerance)

    def check_differ(self, one: Reading, other: Reading) -> None:
        """What was changed shows in the distribution."""
        __tracebackhide__ = True
        assert distance(one, other) > self.tolerance


def _reading(dist: Dist) -> Reading:
    probs = dict(zip(dist.ids, dist.probs, strict=True))
    return [math.log(max(probs[token], FLOOR)) for token in range(len(probs))]
