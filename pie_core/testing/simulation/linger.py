"""A command that runs in steps, for simulated programs alone: the trait that brings it, and its handler over hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pie_core.command import UNFINISHED, Command, Planned, Reads, Writes
from pie_core.errors import ArgumentError, HandleError
from pie_core.inference.backend import HandlerSpec
from pie_core.model import ModelInfo
from pie_core.resource import Embed, KvPage
from pie_core.schema import U32
from pie_core.testing.fake import FakeBackend, FakeHandler, Slot, digest
from pie_core.trait import Trait


class Linger(Command):
    """Look at everything that is named once more with each of so many steps, and write down what it came to.

    ikv, emb: what each step reads. okv: `room` free slots of these pages are reserved; with each step, one more of the
    first `fill` is filled, with the last all that are left. oemb: one Embed, written with the last step. A step of one
    that fills any runs the first of `emb`, from `ikv` to `oemb`: with a batch of `forward`, if there is one.
    fails_at: the step that fails, counted from 0; None: none does. Returns a number for each step.
    """

    stepwise = True
    returns = list[U32]
    ikv: Reads[KvPage]
    emb: Reads[Embed]
    okv: Writes[KvPage]
    oemb: Writes[Embed]
    steps: U32
    room: U32
    fill: U32
    fails_at: U32 | None = None
    live: Planned[tuple[int, ...]] = ()  # as for `forward`
    slots: Planned[tuple[tuple[int, int], ...]] = ()  # as for `forward`; those that are reserved
    start: Planned[int] = 0  # the position of the first slot
    seen: Planned[tuple[bytes, ...]] = ()  # what each step that was taken came to
    passed: Planned[bool] = False  # what the next step runs has run
    concluded: Planned[tuple[Any, ...]] = ()  # what it was told, each time

    def prepare(self, model: ModelInfo) -> None:
        positions = [embed.position for embed in self.emb]
        free = sum(page.free for page in self.okv)
        if not positions or len(self.oemb) != 1 or not self.steps or free < self.room or self.fill > self.room:
            raise ArgumentError("linger: it wants Embeds to read, one to write, steps, and room for what it fills")
        if None in positions:
            raise HandleError("linger: an Embed was never written")
        if any(len(set(named)) < len(named) for named in (self.ikv, self.emb, self.okv)):
            raise HandleError("linger: something is named twice")
        self.start = max(position for position in positions if position is not None)
        self.live = tuple([page.live for page in self.ikv])
        self.slots = tuple(self._reserve())  # shortens okv
        self.oemb[0].position = self.start + self.fill

    def conclude(self, result: Any) -> None:
        """See `Command.conclude`."""
        self.concluded += (result,)
        filled = 0 if result is None else self.fill
        for place, page in enumerate(self.okv):
            offsets = [slot for at, slot in self.slots if at == place]
            page.fill_reserved(offsets, max(0, min(len(offsets), filled)))
            filled -= len(offsets)

    def _reserve(self) -> list[tuple[int, int]]:
        reserved: list[tuple[int, int]] = []
        taken: list[KvPage] = []
        for page in self.okv:
            count = min(page.free, self.room - len(reserved))
            if count:
                reserved += [(len(taken), offset) for offset in page.reserve(count)]
                taken.append(page)
        self.okv = tuple(taken)
        return reserved


class LingerHandler:
    """Hashes of all that a command may see, at each of its steps: whoever changes some of it meanwhile is found out."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self._forward = FakeHandler(backend)

    def ride_linger(self, batch: Sequence[Linger], beside: int) -> list[Command | None]:
        """What the next steps run, as part of a batch of `forward` with so many tokens already; if there is room."""
        due = [self._is_due(command) for command in batch]
        if beside + sum(due) > self._backend.batch_limit(Linger):
            return [None] * len(batch)
        return [self._pass(command) if runs else None for command, runs in zip(batch, due, strict=True)]

    def rode_linger(self, batch: Sequence[Linger]) -> None:
        """It has run for these."""
        for command in batch:
            command.passed = True

    def linger(self, batch: Sequence[Linger]) -> list[Any]:
        """One step of each."""
        for command in batch:
            if self._is_due(command):
                self._forward.forward([self._pass(command)])
                command.passed = True
        values = [self._look(command) for command in batch]  # all before the first change: it may be run again
        return [self._take(command, value) for command, value in zip(batch, values, strict=True)]

    def _is_due(self, command: Linger) -> bool:
        return command.fill > 0 and not command.passed

    def _pass(self, command: Linger) -> Command:
        assert command.rides is not None
        number = self._next_slot(command)
        place, slot = command.slots[number]
        return command.rides(
            ikv=command.ikv,
            iemb=command.emb[:1],
            okv=(command.okv[place],),
            oemb=command.oemb,
            live=command.live,
            slots=((0, slot),),
            positions=(command.start + number,),
        )

    def _look(self, command: Linger) -> bytes:
        embeds, slots = self._backend.embeds, self._backend.slots
        inputs = [embeds[embed.index] for embed in (*command.emb, *(command.oemb if command.passed else ()))]
        context = [
            slots[page.index, slot]
            for page, live in zip(command.ikv, command.live, strict=True)
            for slot in range(page.size)
            if live >> slot & 1
        ]
        own = [slots[command.okv[place].index, slot] for place, slot in command.slots[: self._filled(command)]]
        return digest("linger", command.seen[-1:], inputs, context, own)

    def _take(self, command: Linger, value: bytes) -> Any:
        first = self._next_slot(command)
        command.seen += (value,)
        command.passed = False
        for number in range(first, self._filled(command)):
            place, slot = command.slots[number]
            entry: Slot = (command.start + number, digest("kv", value, number))
            self._backend.slots[command.okv[place].index, slot] = entry
        if len(command.seen) < command.steps:
            return UNFINISHED
        self._backend.embeds[command.oemb[0].index] = value
        return [int.from_bytes(seen[:2], "big") for seen in command.seen]

    def _next_slot(self, command: Linger) -> int:
        """The slot that a step runs for: when all are filled, the last of them once more."""
        return min(self._filled(command), max(command.fill - 1, 0))

    def _filled(self, command: Linger) -> int:
        taken = len(command.seen)
        return command.fill if taken == command.steps else min(taken, command.fill)


def lingering(installed: Mapping[str, Trait]) -> Trait:
    """The trait, over the installed one that runs the model."""
    calls = installed["forward"].calls
    forward = next(call for call in calls if issubclass(call, Command) and call.signature().name == "forward")

    class Riding(Linger):
        __doc__ = Linger.__doc__
        name = "linger"
        rides = forward

    return Trait(
        name="lingering",
        version="1.0.0",
        doc="Commands that run in steps.",
        calls=(Riding,),
        requires=("forward>=1,<2",),
    )


def linger_handler() -> HandlerSpec:
    """For the fake backend."""
    return HandlerSpec("lingering>=1,<2", "fake", LingerHandler)
