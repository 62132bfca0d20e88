"""One `decode` between its steps."""

from __future__ import annotations

from typing import Any

from inferlet.adjusting import Adjustment
from inferlet.dist import Dist
from inferlet.draws import Draws
from inferlet.sampling import DIST_TOKENS
from pie_traits_text.forward import Forward, ForwardWithAdapter
from pie_traits_text.input_text import EmbedTxt
from pie_traits_text.output_text import GetNextDist

from pie_core import Embed
from pie_traits_decode.steps import Decode
from pie_traits_decode.view import View


class Run:
    """What was drawn and run, and the commands of the text traits for what is next. guide: which tokens that may be.

    pages: that are looked at or filled. live: for each, the bit mask of the slots that are context by now. tokens:
    drawn so far. pending: the token to be run next; None where the next is to be drawn. ended: nothing is.
    adjustment: biases and penalties, if there are any. adjusted: distributions are changed before tokens are drawn.
    """

    def __init__(self, command: Decode, breaks: frozenset[int]) -> None:
        self.tokens: list[int] = []
        self.pending = command.first
        self.ended = False
        self.command = command
        self._ends = breaks | frozenset(command.stop)
        places = {page: place for place, page in enumerate(command.ikv)}
        ours = [places.setdefault(page, len(places)) for page in command.okv]
        self.pages = tuple(places)
        self.live = [*command.live, *[0] * (len(self.pages) - len(command.live))]
        self._slots = [(ours[place], slot) for place, slot in command.slots]  # of the tokens that are run
        self._ran = 0
        adjustment = Adjustment(
            dict(zip(command.biased, command.bias, strict=True)), command.presence, command.frequency, command.seen
        )
        self.guide = command.guide
        self._view = View(command, len(self.pages)) if command.mask is not None else None
        self.adjusted = adjustment.changes_anything or self.guide is not None
        self.adjustment = adjustment if adjustment.changes_anything else None

    @property
    def position(self) -> int:
        """Where the token stands that is run next."""
        return self.command.start + self._ran

    def next_slots(self, most: int) -> list[tuple[int, int]]:
        """Of the tokens that are run next, the place among `pages` and the slot there."""
        return self._slots[self._ran : self._ran + most]

    @property
    def left(self) -> int:
        """How many tokens may still be drawn."""
        return 0 if self.ended else self.command.most - len(self.tokens)

    def embed(self) -> EmbedTxt:
        """The pending token's embedding, where its hidden state will be."""
        assert self.pending is not None
        return EmbedTxt([self.pending], [self.command.start + self._ran], self.command.oemb)

    def forward(self) -> Forward | ForwardWithAdapter:
        """Run the pending token."""
        command = self.command
        place, slot = command.slots[self._ran]
        pages, token, page = self.pages, command.oemb, (command.okv[place],)
        live, slots, positions = tuple(self.live), ((0, slot),), (command.start + self._ran,)
        mask, held = (None, ()) if self._view is None else self._view.of(self._ran)
        if command.adapter is None:
            return Forward(pages, token, page, token, mask, live, held, slots, positions)
        return ForwardWithAdapter(command.adapter, pages, token, page, token, mask, live, held, slots, positions)

    def has_run(self) -> None:
        """The pending token is context."""
        place, slot = self._slots[self._ran]
        self.live[place] |= 1 << slot
        if self._view is not None:
            self._view.add(self._ran, place, slot)
        self._ran += 1
        self.pending = None

    @property
    def takes_best(self) -> bool:
        """Whether the next token is the most probable one of all, so that no distribution is wanted."""
        return self.command.temperature == 0 and not self.adjusted

    @property
    def state(self) -> tuple[Embed, ...]:
        """The Embed with the hidden state that the next token is drawn from."""
        return self.command.oemb if self._ran else self.command.emb

    @property
    def top_k(self) -> int | None:
        """How many of the most probable tokens are wanted to draw from; None: all."""
        command = self.command
        if self.adjustment is not None:
            return None if command.top_k is None else max(command.top_k, DIST_TOKENS)
        return command.top_k if command.temperature else 1

    def ask(self) -> GetNextDist:
        """What to draw from."""
        return GetNextDist(self.state, self.top_k)

    def pick(self, record: Any) -> int:
        """The next token, drawn from what the trait `output_text` tells; not taken."""
        command, dist = self.command, Dist.of(record)
        if self.adjustment is not None:
            dist = self.adjustment(dist, self.tokens)
        draws = Draws(command.seed, command.draw + len(self.tokens))
        return dist.sample(command.temperature, command.top_k, command.top_p, command.min_p, draws)

    def take(self, token: int) -> None:
        """This one was drawn, after the one before has run."""
        guide = self.guide
        if guide is not None:
            guide.take(token)
        self.tokens.append(token)
        last = len(self.tokens) == self.command.most or token in self._ends or self.command.ending
        self.ended = last or (guide is not None and guide.ended)
        self.pending = None if self.ended else token
