"""Trait `forward`: run the model."""

from __future__ import annotations

from itertools import chain

from pie_core import (
    ArgumentError,
    Command,
    ControlCall,
    Embed,
    HandleError,
    KvPage,
    Mask,
    ModelInfo,
    Planned,
    Reads,
    Space,
    Trait,
    Writes,
    hookimpl,
)


class Forward(Command):
    """Run the model over the tokens of `iemb`, in order.

    ikv: context pages. Every token in them that is not hidden is context, with the position it was written at.
    iemb: the tokens to run, as Embeds that were written before; at least one.
    okv: their keys and values fill the free slots of these pages in order. May be pages of `ikv`.
    oemb: the hidden states of the last `len(oemb)` tokens; may be Embeds of `iemb`, which are read first. An output
        Embed stands one position after its token, where it would go if it were fed back as input.
    mask: `len(iemb)` rows; a column for every token held by `ikv` (hidden ones too), page by page, then one for every
        token of `iemb`. True = may attend. It replaces causality; hidden tokens stay hidden. Without it a token sees
        the context and the new tokens at its own position and below. A token that may see nothing gets zeros from
        attention.

    Errors, before anything runs: `okv` without room, `oemb` longer than `iemb`, an Embed that was never written, stands
    outside the model's range or is named twice in `oemb`, a page named twice in `ikv` or in `okv`, a page in `okv` that
    someone else holds too, a mask of the wrong shape.
    """

    heavy = True
    ikv: Reads[KvPage]
    iemb: Reads[Embed]
    okv: Writes[KvPage]
    oemb: Writes[Embed]
    mask: Mask | None = None
    live: Planned[tuple[int, ...]] = ()  # for each page of ikv: bit mask of its visible slots before this call
    held: Planned[tuple[int, ...]] = ()  # for each page of ikv: bit mask of its used slots; only when there is a mask
    slots: Planned[tuple[tuple[int, int], ...]] = ()  # for each token: (place of the page in okv, slot in the page)
    positions: Planned[tuple[int, ...]] = ()  # for each token

    @property
    def weight(self) -> int:
        return len(self.iemb)

    def prepare(self, model: ModelInfo) -> None:
        positions = [embed.position for embed in self.iemb]
        room = self._room(len(positions))
        self._check(positions, sum(room), model)
        self.live = tuple([page.used & ~page.hidden for page in self.ikv])
        if self.mask is not None:
            self.held = tuple([page.used for page in self.ikv])
        self.slots = tuple(self._fill(len(positions), room))  # shortens okv
        self.positions = tuple(positions)  # type: ignore[arg-type]  # `_check` refused the unwritten ones
        for embed, position in zip(self.oemb, self.positions[len(positions) - len(self.oemb) :], strict=True):
            embed.position = position + 1

    def _room(self, count: int) -> list[int]:
        """Free slots of the pages of `okv`, up to the one with which they suffice."""
        room: list[int] = []
        for page in self.okv:
            free = page.size - page.used.bit_count()
            room.append(free)
            count -= free
            if count <= 0:
                break
        return room

    def _check(self, positions: list[int | None], free: int, model: ModelInfo) -> None:
        count = len(positions)
        if count == 0:
            raise ArgumentError("forward: `iemb` is empty; name at least one Embed to run")
        if None in positions:
            raise HandleError(f"forward: Embed {positions.index(None)} of `iemb` was never written; embed_txt it first")
        farthest = max(position for position in positions if position is not None)
        if farthest >= model.max_position:
            raise ArgumentError(
                f"forward: an Embed of `iemb` stands at position {farthest}, outside the model's range of "
                f"{model.max_position}"
            )
        if len(self.oemb) > count:
            raise ArgumentError(f"forward: `oemb` has {len(self.oemb)} Embeds for {count} tokens; name {count} at most")
        for name, named in (("oemb", self.oemb), ("okv", self.okv), ("ikv", self.ikv)):
            if len(named) > 1 and len(set(named)) < len(named):
                raise HandleError(f"forward: a {named[0].kind} is named twice in `{name}`")
        if free < count:
            raise ArgumentError(f"forward: `okv` has {free} free slots for {count} tokens; allocate more pages")
        if self.mask is not None:
            self._check_mask(self.mask, count)

    def _check_mask(self, mask: Mask, count: int) -> None:
        columns = sum(page.tokens for page in self.ikv) + count
        if (mask.rows, mask.cols) != (count, columns):
            raise ArgumentError(
                f"forward: mask is {mask.rows}x{mask.cols}; for {count} tokens over {columns - count} context tokens "
                f"it must be {count}x{columns}"
            )

    def _fill(self, count: int, room: list[int]) -> list[tuple[int, int]]:
        """Take free slots in order; `okv` keeps the pages that were taken from. Each slot as (place in okv, offset)."""
        filled: list[KvPage] = []
        taken: list[tuple[int, int]] = []
        for page, free in zip(self.okv, room, strict=False):
            if free:
                place = len(filled)
                filled.append(page)
                taken += [(place, offset) for offset in page.take(min(free, count - len(taken)))]
                if len(taken) == count:
                    break
        self.okv = tuple(filled)
        return taken


class MaskKvpage(ControlCall):
    """Hide or show tokens of pages for every command enqueued from now on.

    kv: the pages. mask: one value per token held, page by page, or one per slot (values of empty slots are ignored);
    True = visible. A hidden token can be shown again. Wrong length, a page that is named twice or that someone else
    holds too: error.
    """

    kv: Writes[KvPage]
    mask: Mask

    def apply(self, space: Space) -> None:
        if len(self.kv) > 1 and len(set(map(id, self.kv))) < len(self.kv):
            raise HandleError("mask_kvpage: a page is named twice")
        held = [[slot for slot in range(page.size) if page.used >> slot & 1] for page in self.kv]
        tokens, slots = sum(map(len, held)), sum(page.size for page in self.kv)
        values = self.mask.data
        if len(values) not in (tokens, slots):
            raise ArgumentError(
                f"mask_kvpage: {len(values)} values for pages that hold {tokens} tokens in {slots} slots"
            )
        if len(values) == slots:
            starts = range(0, slots, self.kv[0].size) if self.kv else range(0)
            values = bytes(
                chain.from_iterable([values[at + slot] for slot in of] for at, of in zip(starts, held, strict=True))
            )
        shown = iter(values)
        for page, of in zip(self.kv, held, strict=True):
            page.hidden = sum(1 << slot for slot in of if not next(shown))


FORWARD = Trait(
    name="forward",
    version="1.0.0",
    doc="Run the model over Embeds, with pages as context.",
    calls=(Forward, MaskKvpage),
    requires=("allocate>=1,<2",),
)


@hookimpl
def pie_trait() -> Trait:
    return FORWARD
