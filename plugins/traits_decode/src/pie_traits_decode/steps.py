"""`decode`: many steps in one command. Others join and leave between steps, and nothing waits for a program."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from pie_traits_text.forward import Forward

from pie_core import (
    U32,
    U64,
    ArgumentError,
    Command,
    Embed,
    HandleError,
    KvPage,
    Mask,
    ModelInfo,
    Planned,
    Reads,
    Writes,
)
from pie_core.errors import nearest
from pie_traits_decode.guiding import Guide
from pie_traits_decode.settings import check_settings, position_behind

MOST = 1024  # tokens of one command


class Decode(Command):
    """Draw tokens one after the other, and run each to draw the next.

    ikv: context pages, as for `forward`. emb: one Embed with a hidden state, from which the first token is drawn.
    okv: keys and values of the tokens that are run fill the free slots of these pages in order; room for all of them is
        wanted. May be pages of `ikv`. oemb: one Embed, which gets the hidden state of the last token that is run; may
        be `emb`, and stays what it is if none is run.
    most: how many tokens are drawn at most; 1 to 1024. The last one is not run.
    first: a token to be run before all, where `emb` stands (the last one of a `decode` before); what `emb` holds does
        not matter then. None: there is none.
    stop: tokens that end it; such a one is the last of the result. breaks: texts that the caller waits for. It ends
        behind a token that has the last byte of one of them, for the text may be whole there.
    temperature, top_k, top_p, min_p, seed: see `sample`. draw: the number of the first draw; each takes the next.
    biased, bias: tokens, and what is added to the log-probability of each. presence, frequency: taken off those of
        tokens drawn before, once and for each time; `seen` are such that were drawn by earlier calls. With any of them
        only the `top_k` tokens that are most probable without are looked at, but no fewer than 256.
    adapter: every token is run through it (`forward_with_adapter`).
    mask: a row for every token that may be run; a column for every token held by `ikv` (hidden ones too), page by page,
        then one for every token that may be run. True = may attend; hidden tokens stay hidden. Without it each sees the
        context and those before it.

    Returns what was drawn; `drawn` tells of it before, `end_decode` has it end. Until then the slots of `okv` that it
    may fill are no context, and `oemb` cannot be read; so await it before naming them.

    ArgumentError: more or fewer than one Embed to read or to write, `most` outside 1 to 1024 or over the model's range,
        tokens outside the vocabulary, parameters outside theirs, too many or infinite biases, an unknown adapter, `okv`
        without room, a mask of the wrong shape.
    HandleError: an Embed that was never written, a page that is named twice or shared.
    """

    stepwise = True
    rides = Forward
    returns: ClassVar[Any] = list[U32]
    ikv: Reads[KvPage]
    emb: Reads[Embed]
    okv: Writes[KvPage]
    oemb: Writes[Embed]
    most: U32
    first: U32 | None = None
    stop: list[U32] = []
    breaks: list[str] = []
    temperature: float = 0.0
    top_k: U32 | None = 256
    top_p: float = 1.0
    min_p: float = 0.0
    seed: U64 = 0
    draw: U64 = 0
    biased: list[U32] = []
    bias: list[float] = []
    presence: float = 0.0
    frequency: float = 0.0
    seen: list[U32] = []
    adapter: str | None = None
    mask: Mask | None = None
    live: Planned[tuple[int, ...]] = ()  # for each page of ikv: bit mask of its visible slots
    held: Planned[tuple[int, ...]] = ()  # for each page of ikv: bit mask of its used slots; only when there is a mask
    slots: Planned[tuple[tuple[int, int], ...]] = ()  # for each token that may be run: (place of the page in okv, slot)
    start: Planned[int] = 0  # where the first token that is run goes
    ran: Planned[int | None] = None  # how many tokens were run, once it has ended
    state: Planned[Any] = None  # the handler's, between steps
    ending: Planned[bool] = False  # nobody wants more than the next token

    @property
    def guide(self) -> Guide | None:
        """What tells which tokens may come next; None: all. See `Guide`."""
        return None

    def prepare(self, model: ModelInfo) -> None:
        where = self.signature().name
        self._check(model, where)
        start = position_behind(self.emb, where)
        runs = self.most - (self.first is None)
        if start + runs > model.max_position:
            left = max(0, model.max_position - start)
            raise ArgumentError(f"{where}: the model has {left} positions left, {runs} tokens are to be run")
        free = sum(page.free for page in self.okv)
        if free < runs:
            raise ArgumentError(
                f"{where}: `okv` has {free} free slots, {runs} tokens are to be run; allocate more pages"
            )
        if self.mask is not None:
            self._check_mask(self.mask, runs, where)
            self.held = tuple([page.used for page in self.ikv])
        self.start = start
        self.live = tuple([page.live for page in self.ikv])
        self.slots = tuple(self._reserve(runs))  # shortens okv
        if runs:
            self.oemb[0].position = None

    @property
    def weight(self) -> int:
        return 1 if self.ran is None else self.ran

    def conclude(self, result: Any) -> None:
        """See `Command.conclude`. The slots of what was run are used now."""
        run = self.ran = 0 if result is None else len(result) - (self.first is None)
        filled: list[list[int]] = [[] for _ in self.okv]
        for place, slot in self.slots:
            filled[place].append(slot)
        for page, offsets in zip(self.okv, filled, strict=True):
            page.fill_reserved(offsets, max(0, min(len(offsets), run)))
            run -= len(offsets)
        if result is not None and self.slots:
            self.oemb[0].position = self.start + len(result) - (self.first is None)

    def answer(self, tokens: list[int]) -> Any:
        """What the program gets, now that these were drawn; `UNFINISHED` if it is to be asked again. Device thread."""
        return tokens

    def _check(self, model: ModelInfo, where: str) -> None:
        if len(self.emb) != 1 or len(self.oemb) != 1:
            given = f"{len(self.emb)} and {len(self.oemb)}"
            raise ArgumentError(f"{where}: one Embed to read and one to write are wanted; got {given}")
        if not 1 <= self.most <= MOST:
            raise ArgumentError(f"{where}: `most` is {self.most}; 1 to {MOST} tokens can be drawn")
        check_settings(self, where)
        for field, named in (("okv", self.okv), ("ikv", self.ikv)):
            if len(set(named)) < len(named):
                raise HandleError(f"{where}: a page is named twice in `{field}`")
        largest = max([*self.stop, *self.seen, *self.biased, self.first or 0])
        if largest >= model.vocab_size:
            raise ArgumentError(f"{where}: token {largest} is outside the vocabulary of {model.vocab_size}")
        if len(self.biased) != len(self.bias):
            raise ArgumentError(f"{where}: {len(self.biased)} tokens are biased, by {len(self.bias)} numbers")
        if not all(map(math.isfinite, [self.presence, self.frequency, *self.bias])):
            raise ArgumentError(f"{where}: biases and penalties must be finite numbers")
        if not all(self.breaks):
            raise ArgumentError(f"{where}: an empty text in `breaks`; name what the caller waits for")
        if self.adapter is not None and self.adapter not in model.adapters:
            near = nearest(self.adapter, model.adapters)
            raise ArgumentError(f"{where}: model {model.name!r} has no adapter {self.adapter!r}{near}")

    def _check_mask(self, mask: Mask, runs: int, where: str) -> None:
        columns = sum(page.tokens for page in self.ikv) + runs
        if (mask.rows, mask.cols) != (runs, columns):
            raise ArgumentError(
                f"{where}: mask is {mask.rows}x{mask.cols}; for {runs} tokens that may be run over {columns - runs} "
                f"context tokens it must be {runs}x{columns}"
            )

    def _reserve(self, runs: int) -> list[tuple[int, int]]:
        """Slots in order; `okv` keeps the pages that they are in. Each slot as (place in okv, offset)."""
        reserved: list[tuple[int, int]] = []
        taken: list[KvPage] = []
        for page in self.okv:
            if len(reserved) == runs:
                break
            if count := min(page.free, runs - len(reserved)):
                place = len(taken)
                reserved += [(place, offset) for offset in page.reserve(count)]
                taken.append(page)
        self.okv = tuple(taken)
        return reserved
