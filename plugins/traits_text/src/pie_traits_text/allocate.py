"""Trait `allocate`: pages and embeds come, go and are copied.

Sharing (export, import) and freeing are bookkeeping of the control layer; copying is work for the device.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from pie_core import (
    U32,
    ArgumentError,
    Command,
    ControlCall,
    Embed,
    Handles,
    KvPage,
    ModelInfo,
    Planned,
    Reads,
    Space,
    Trait,
    Writes,
    hookimpl,
)


class GetKvpageSize(ControlCall):
    """Token slots in a KvPage of this model (8 to 32)."""

    target = "model"
    returns = U32

    def apply(self, space: Space) -> int:
        return space.model.kvpage_size


class AllocKvpage(ControlCall):
    """`n` fresh, empty pages.

    When the pool is dry the contention policy decides who waits or gives way.

    ArgumentError: not a count.
    ResourceError: more than the pool or the quota can ever hold, at once.
    """

    returns = Annotated[tuple[int, ...], Handles(KvPage)]
    n: U32

    def apply(self, space: Space) -> list[int]:
        return space.allocate(KvPage, self.n)


class DeallocKvpage(ControlCall):
    """Give pages back, behind the commands already enqueued that use them.

    HandleError: freed before, named twice, another inferlet's or no page, and nothing is freed.
    ArgumentError: not a list.
    """

    kv: Annotated[tuple[int, ...], Handles(KvPage)]

    def apply(self, space: Space) -> None:
        space.free(KvPage, self.kv)


class AllocEmb(ControlCall):
    """`n` fresh Embeds. They hold nothing until a command writes them.

    ArgumentError: not a count.
    ResourceError: more than the pool or the quota can ever hold.
    """

    returns = Annotated[tuple[int, ...], Handles(Embed)]
    n: U32

    def apply(self, space: Space) -> list[int]:
        return space.allocate(Embed, self.n)


class DeallocEmb(ControlCall):
    """Give Embeds back, behind the commands already enqueued that use them.

    HandleError: freed before, named twice, another inferlet's or no Embed, and nothing is freed.
    """

    emb: Annotated[tuple[int, ...], Handles(Embed)]

    def apply(self, space: Space) -> None:
        space.free(Embed, self.emb)


class CopyKvpage(Command):
    """Copy tokens from page to page: keys, values, positions and whether they are hidden.

    Slots `src_start` to `src_start + length` of each page of `src` go to `dst_start` onwards of the page of `dst` at
    the same place in the list. `length=None` copies to the end of what the source page holds. What the destination held
    in those slots is replaced; empty source slots stay empty.

    ArgumentError: lists of unequal length, slots outside a page, a page that is destination twice or source and
        destination, slots that a command which still runs is to fill.
    HandleError: a destination that someone else holds too, a page that is not this inferlet's.
    """

    src: Reads[KvPage]
    dst: Writes[KvPage]
    src_start: U32 = 0
    dst_start: U32 = 0
    length: U32 | None = None
    lengths: Planned[tuple[int, ...]] = ()  # slots to copy, for each pair of pages

    def prepare(self, model: ModelInfo) -> None:
        if len(self.src) != len(self.dst):
            raise ArgumentError(f"copy_kvpage: {len(self.src)} source pages for {len(self.dst)} destination pages")
        if len({id(page) for page in (*self.src, *self.dst)}) < len({id(page) for page in self.src}) + len(self.dst):
            raise ArgumentError("copy_kvpage: a page is named as destination twice, or as source and destination")
        self.lengths = tuple(self._length(page) for page in self.src)
        for target, length in zip(self.dst, self.lengths, strict=True):
            if target.reserved >> self.dst_start & ((1 << length) - 1):
                raise ArgumentError(
                    "copy_kvpage: a command that still runs fills the destination slots; await it first"
                )
        for source, target, length in zip(self.src, self.dst, self.lengths, strict=True):
            _copy_books(source, target, self.src_start, self.dst_start, length)

    def _length(self, source: KvPage) -> int:
        length = self.length if self.length is not None else max(0, source.used.bit_length() - self.src_start)
        for what, start in (("source", self.src_start), ("destination", self.dst_start)):
            if start + length > source.size:
                raise ArgumentError(
                    f"copy_kvpage: {what} slots {start}..{start + length} reach past the page of {source.size} slots"
                )
        return length


class Export(msgspec.Struct, frozen=True):
    """Pages that the user has published. Age in seconds."""

    name: str
    pages: int
    tokens: int
    owner: str  # id of the inferlet that exported them
    age: float


class ExportKvpage(ControlCall):
    """Publish pages under `name` in the user's namespace. They become read-only for everyone.

    They outlive this inferlet until `release_kvpage`, or for `ttl` seconds.

    ArgumentError: a name in use or over 256 characters, a `ttl` of 0 or less.
    HandleError: a page named twice or not this inferlet's.
    ResourceError: over `exported_names` or `exported_pages`.
    """

    target = "none"
    kv: Annotated[tuple[int, ...], Handles(KvPage)]
    name: str
    ttl: float | None = None

    def apply(self, space: Space) -> None:
        space.export(self.kv, self.name, self.ttl)


class ImportKvpage(ControlCall):
    """The pages published under `name`, shared, read-only, in the exporter's order.

    HandleError: an unknown name, with near ones.
    ResourceError: over the quota.
    """

    target = "none"
    returns = Annotated[tuple[int, ...], Handles(KvPage)]
    name: str

    def apply(self, space: Space) -> list[int]:
        return space.import_(self.name)


class ExportedKvpages(ControlCall):
    """What the user has published, oldest first."""

    target = "none"
    returns = list[Export]

    def apply(self, space: Space) -> list[Export]:
        return [
            Export(e.name, len(e.pages), sum(page.tokens for page in e.pages), e.owner, age)
            for e, age in space.exports()
        ]


class ReleaseKvpage(ControlCall):
    """Withdraw a published name; its pages go back when nobody holds them any more.

    HandleError: an unknown name, with near ones.
    """

    target = "none"
    name: str

    def apply(self, space: Space) -> None:
        space.release(self.name)


def _copy_books(source: KvPage, target: KvPage, src_start: int, dst_start: int, length: int) -> None:
    window = (1 << length) - 1
    keep = ~(window << dst_start)
    target.used = target.used & keep | (source.used >> src_start & window) << dst_start
    target.hidden = target.hidden & keep | (source.hidden >> src_start & window) << dst_start


ALLOCATE = Trait(
    name="allocate",
    version="1.0.0",
    doc="KvPages and Embeds: allocate, free, copy, share.",
    calls=(
        GetKvpageSize,
        AllocKvpage,
        DeallocKvpage,
        AllocEmb,
        DeallocEmb,
        CopyKvpage,
        ExportKvpage,
        ImportKvpage,
        ExportedKvpages,
        ReleaseKvpage,
    ),
    resources=(KvPage, Embed),
)


@hookimpl
def pie_trait() -> Trait:
    return ALLOCATE
