"""Trait `forward`: run the model."""

from __future__ import annotations

from itertools import chain
from typing import ClassVar

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
from pie_core.errors import nearest
from pie_traits_text.forward_plan import plan


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

    ArgumentError: nothing to run, no room in `okv`, `oemb` longer than `iemb`, a position outside the model's range, a
        mask of the wrong shape.
    HandleError: an Embed that was never written, a page named twice in `ikv` or in `okv` or an Embed in `oemb`, a
        handle that is not this inferlet's, a page in `okv` that someone else holds too.
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

    adapter: ClassVar[str | None] = None  # what a batch mixed with `ForwardWithAdapter` asks each of its commands

    @property
    def weight(self) -> int:
        return len(self.iemb)

    def prepare(self, model: ModelInfo) -> None:
        plan(self, model)


class ForwardWithAdapter(Command):
    """`forward` through a LoRA adapter: its low-rank terms are added to the model's own weights.

    adapter: one of the names that `list_adapters` gives. The others are those of `forward`.

    The keys and values it writes are the adapter's, its output Embeds too; whoever reads them afterwards may do so with
    another adapter or with none.

    ArgumentError: an unknown adapter, with near ones; else as for `forward`.
    """

    heavy = True
    batches_with = Forward
    adapter: str
    ikv: Reads[KvPage]
    iemb: Reads[Embed]
    okv: Writes[KvPage]
    oemb: Writes[Embed]
    mask: Mask | None = None
    live: Planned[tuple[int, ...]] = ()  # these four: see `Forward`
    held: Planned[tuple[int, ...]] = ()
    slots: Planned[tuple[tuple[int, int], ...]] = ()
    positions: Planned[tuple[int, ...]] = ()

    @property
    def weight(self) -> int:
        return len(self.iemb)

    def prepare(self, model: ModelInfo) -> None:
        if self.adapter not in model.adapters:
            near = nearest(self.adapter, model.adapters)
            raise ArgumentError(f"forward_with_adapter: model {model.name!r} has no adapter {self.adapter!r}{near}")
        plan(self, model)


class ListAdapters(ControlCall):
    """Names of the adapters that `forward_with_adapter` takes, in the order they were loaded in."""

    target = "model"
    returns = list[str]

    def apply(self, space: Space) -> list[str]:
        return list(space.model.adapters)


class MaskKvpage(ControlCall):
    """Hide or show tokens of pages for every command enqueued from now on.

    kv: the pages. mask: one value per token held, page by page, or one per slot (values of empty slots are ignored);
    True = visible. A hidden token can be shown again.

    ArgumentError: a mask of the wrong length or not of truths.
    HandleError: a page named twice, not this inferlet's, or that someone else holds too.
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
    calls=(Forward, ForwardWithAdapter, ListAdapters, MaskKvpage),
    requires=("allocate>=1,<2",),
)


@hookimpl
def pie_trait() -> Trait:
    return FORWARD
