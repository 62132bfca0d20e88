"""The device's resources as the host knows them: KvPage and Embed, and how to add a kind.

A record here holds no tensor. `index` says which physical slot of the backend's pool it stands for; everything else
is what the host must know to check and plan a command without asking the device. Handlers read `index` and the
command's planned fields, nothing else: the books below belong to the control layer and change under their feet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from pie_core.control.budget import Budget
    from pie_core.control.submission import Node
    from pie_core.model import ModelInfo

UNBOUND = -1


class Resource:
    """One physical thing out of a pool that the backend allocated at start.

    `kind` names the pool in messages, in limits and on the wire. A trait that brings a new kind subclasses this and
    lists the class in its `resources`; the backend states how many it has in `Backend.capacity`.
    """

    kind: ClassVar[str]
    quota: ClassVar[int | None] = None  # one inferlet may hold so many where its limits do not say; None: all
    accumulates: ClassVar[bool] = False  # a write adds to what is there instead of replacing it
    __slots__ = ("budget", "holders", "index", "readers", "uses", "writer")

    def __init__(self) -> None:
        self.index: int = UNBOUND  # physical index in the pool; UNBOUND until the allocation was granted
        self.holders: int = 1  # address spaces and exports that hold it
        self.uses: int = 0  # commands enqueued or in flight that touch it
        self.writer: Node | None = None  # the last command enqueued that writes it
        self.readers: list[Node] = []  # commands enqueued since then that read it
        self.budget: Budget | None = None  # of the user whose inferlets and exports hold it

    @classmethod
    def create(cls, model: ModelInfo) -> Self:
        """A fresh, empty, unbound record; the model says what its size depends on."""
        return cls()

    def __repr__(self) -> str:
        return f"<{self.kind} {self.index}>"


class KvPage(Resource):
    """A page of the KV cache: `size` token slots. The books are bit masks over the slots, low bit first.

    A slot is *used* once a command that fills it is enqueued, and *hidden* while `mask_kvpage` says so. Context is
    what is used and not hidden. A slot is *reserved* as long as a command runs that may fill it: it is not context yet,
    and nobody else's. Positions live on the device beside the keys.
    """

    kind = "kvpage"
    accumulates = True
    __slots__ = ("hidden", "reserved", "size", "used")

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.used = 0
        self.hidden = 0
        self.reserved = 0

    @classmethod
    def create(cls, model: ModelInfo) -> Self:
        return cls(model.kvpage_size)

    @property
    def live(self) -> int:
        """Bit mask of the slots that a forward pass attends to."""
        return self.used & ~self.hidden

    @property
    def tokens(self) -> int:
        """How many tokens the page holds, hidden ones included."""
        return self.used.bit_count()

    @property
    def free(self) -> int:
        """How many tokens still fit."""
        return self.size - (self.used | self.reserved).bit_count()

    def take(self, count: int) -> list[int]:
        """Mark the lowest `count` free slots used and return their offsets in order (`count` <= `free`)."""
        offsets = self._lowest(count)
        self.used |= _bits(offsets)
        return offsets

    def reserve(self, count: int) -> list[int]:
        """Mark the lowest `count` free slots reserved and return their offsets in order (`count` <= `free`)."""
        offsets = self._lowest(count)
        self.reserved |= _bits(offsets)
        return offsets

    def fill_reserved(self, offsets: Sequence[int], filled: int) -> None:
        """Of slots that were reserved, the first `filled` are used now; the others are free again."""
        self.reserved &= ~_bits(offsets)
        self.used |= _bits(offsets[:filled])

    def _lowest(self, count: int) -> list[int]:
        taken = self.used | self.reserved
        if taken & (taken + 1) == 0:  # filled from the bottom without a gap: the ordinary case
            start = taken.bit_length()
            offsets = list(range(start, start + count))
        else:
            offsets = [offset for offset in range(self.size) if not taken >> offset & 1][:count]
        assert len(offsets) == count and (not offsets or offsets[-1] < self.size)
        return offsets


def _bits(offsets: Sequence[int]) -> int:
    """The mask of offsets that rise."""
    count = len(offsets)
    if count and offsets[-1] - offsets[0] == count - 1:  # without a gap: the ordinary case
        return ((1 << count) - 1) << offsets[0]
    bits = 0
    for offset in offsets:
        bits |= 1 << offset
    return bits


class Embed(Resource):
    """One vector of the model's width and the position it stands at (`None`: nothing was written to it yet)."""

    kind = "embed"
    __slots__ = ("position",)

    def __init__(self) -> None:
        super().__init__()
        self.position: int | None = None


class HostResource(Resource):
    """A resource that takes no room on the device: what it holds is in the record itself.

    A trait that brings a subclass needs no pool of any backend. `capacity` is how many a model has at a time. Freed, or
    with its inferlet ended, the record is forgotten, and what it holds with it.

    It is written by commands of the host (`Command.place`) and by such as run in steps, in order. Every write makes a
    new *version*: a command of the device that reads it takes what it needs from the record in `prepare`, runs when the
    writes before it are done, and must find there what it took, whatever is written meanwhile. So no write waits for
    those who read.
    """

    accumulates = True
    capacity: ClassVar[int] = 1 << 16
    quota = 64
