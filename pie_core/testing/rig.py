"""A control layer over `FakeBackend` on a manual loop: one step at a time, nothing hidden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pie_core.control.contention import ContentionPolicy, FcfsKill
from pie_core.control.dispatch import Adaptive, DispatchPolicy
from pie_core.control.environment import Environment
from pie_core.control.layer import ControlLayer
from pie_core.control.observer import Observer
from pie_core.control.space import Space
from pie_core.errors import TerminatedError
from pie_core.inference.backend import Backend, HandlerSpec
from pie_core.plugins import Selection
from pie_core.registry import Realization, load_registry, realize
from pie_core.resource import Embed, KvPage, Resource
from pie_core.testing.fake import FakeBackend, fake_handlers
from pie_core.testing.inline import InlineDevice, ManualLoop


@dataclass
class Rig:
    """`evicted` lists who was ended by the contention policy."""

    backend: Any
    loop: ManualLoop
    device: InlineDevice
    layer: ControlLayer
    evicted: list[str] = field(default_factory=list)

    def open(
        self,
        name: str = "a",
        user: str = "user",
        quota: Mapping[type[Resource], int] | None = None,
        user_quota: Mapping[type[Resource], int] | None = None,
    ) -> Program:
        """A new inferlet with one queue."""
        return Program(self, self.layer.open(name, user, quota, user_quota=user_quota))

    def free(self) -> tuple[int, int]:
        """(free pages, free Embeds)."""
        return self.layer.pools[KvPage].free, self.layer.pools[Embed].free


class Program:
    """The calls of one inferlet, as short methods."""

    def __init__(self, rig: Rig, space: Space) -> None:
        self.rig = rig
        self.space = space
        self.q = space.create_queue()

    def call(self, name: str, *arguments: Any, q: int | None = None) -> Any:
        """Any call, on the first queue unless told otherwise."""
        return self.space.call(name, self.q if q is None else q, arguments)

    def prompt(self, tokens: list[int], first: int = 0, q: int | None = None) -> list[int]:
        """Embeds of tokens at consecutive positions."""
        embeds: list[int] = self.call("alloc_emb", len(tokens), q=q)
        self.call("embed_txt", tokens, list(range(first, first + len(tokens))), embeds, q=q)
        return embeds

    def hashes(self, embeds: list[int]) -> list[bytes]:
        """What the backend holds for Embeds, once everything has run."""
        self.rig.loop.run()
        records = self.space.resolve(Embed, embeds, "test")
        return [self.rig.backend.embeds[record.index] for record in records]


def make_rig(
    pages: int = 64,
    embeds: int = 256,
    page_size: int = 4,
    batch: int = 4096,
    dispatch: DispatchPolicy | None = None,
    contention: ContentionPolicy | None = None,
    handlers: Sequence[HandlerSpec] | None = None,
    backend: Backend | None = None,
    name: str = "fake",
    adapters: Sequence[str] = (),
    realization: Realization | None = None,
    loop: ManualLoop | None = None,
    observer: Observer | None = None,
) -> Rig:
    """A rig; small pages, so that everything crosses their borders. `handlers` are for `backend`, called `name`.

    realization: what they realize, where that is known already. observer: of the layer; its clock is that of `loop`.
    """
    backend = backend or FakeBackend(pages=pages, embeds=embeds, page_size=page_size, batch=batch, adapters=adapters)
    realization = realization or realize(load_registry(Selection()), handlers or fake_handlers(), name, backend)
    loop = loop or ManualLoop()
    device = InlineDevice(realization.routes, loop.soon, realization.rides)
    rig: Rig | None = None

    def evicted(space: Space, why: TerminatedError) -> None:
        assert rig is not None
        rig.evicted.append(space.owner)

    layer = ControlLayer(
        backend.info,
        realization.capacity,
        realization.calls,
        realization.answers,
        device,
        backend.batch_limit,
        Environment(loop.now, loop.soon, evicted, loop.later),
        dispatch or Adaptive(),
        contention or FcfsKill(),
        backend.swapper,
    )
    if observer is not None:
        layer.observers.add(observer)
    rig = Rig(backend, loop, device, layer)
    return rig
