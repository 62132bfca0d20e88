"""What the handler asks of those of the text traits, and where it ends for a text that is waited for."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from pie_traits_decode.breaks import Breaks
from pie_traits_decode.handler import PATIENCE_S, DecodeHandler
from pie_traits_decode.running import Run
from pie_traits_decode.steps import Decode

from pie_core import ArgumentError, Command, HandlerSpec, Trait
from pie_core.plugins import Selection
from pie_core.registry import Registry, load_handlers, load_registry, realize
from pie_core.testing import FakeBackend, fake_handlers
from pie_core.testing.fake import FakeHandler
from pie_core.testing.rig import Program, make_rig


@pytest.mark.parametrize("call", ["decode", "sample"])
def test_no_more_than_the_backend_takes_at_once(call: str) -> None:
    """Five inferlets draw and run together, two of them at a time."""
    sizes: list[int] = []

    class Limited(FakeBackend):
        def batch_limit(self, command: type[Command]) -> int:
            return 5 if command.signature().name == call else 2

    class Recording(FakeHandler):
        def embed_txt(self, batch: Sequence[Any]) -> None:
            sizes.append(len(batch))
            super().embed_txt(batch)

        def forward(self, batch: Sequence[Any]) -> None:
            sizes.append(len(batch))
            super().forward(batch)

        def get_next_dist(self, batch: Sequence[Any]) -> list[Any]:
            sizes.append(len(batch))
            return super().get_next_dist(batch)

    backend = Limited()
    specs = [*(replace(spec, build=Recording) for spec in fake_handlers()), *load_handlers("fake", "", Selection())]
    rig = make_rig(backend=backend, realization=realize(load_registry(Selection()), specs, "fake", backend))
    ready = []
    for name in "abcde":
        p = rig.open(name)
        (emb,), pages = p.call("alloc_emb", 1), p.call("alloc_kvpage", 1)
        p.call("embed_txt", [ord(name)], [0], [emb])
        p.call("forward", [], [emb], pages, [emb])
        ready.append((p, [pages, [emb], pages, [emb], 4] if call == "decode" else [[emb], []]))
    rig.loop.run()
    tickets = [p.call(call, *arguments) for p, arguments in ready]
    rig.loop.run()
    assert all(ticket.error is None for ticket in tickets) and max(sizes) == 2


def test_a_text_may_be_whole_in_the_middle_of_a_token() -> None:
    class Vocabulary:
        def get_vocabs(self, query: Any) -> list[bytes]:
            return [b"a", b"ab", b"ba", b"b", "é".encode(), "é".encode()[1:]]

    breaks = Breaks(Vocabulary())
    assert breaks.of(["xa"]) == {0, 1, 2}
    assert breaks.of(["é"]) == {4, 5}
    assert breaks.of(["xa", "é"]) == {0, 1, 2, 4, 5} and breaks.of([]) == frozenset()


class Spelling:
    """A guide, as another package may bring one: allows the bytes of a text, one after the other.

    waits: before each token, how often it is not ready.
    """

    def __init__(self, text: bytes, waits: Sequence[int]) -> None:
        self._left, self._waits = deque(text), deque(waits)

    @property
    def ended(self) -> bool:
        return not self._left

    def allowed(self, patience_s: float) -> bytes | None:
        if self._waits and self._waits[0]:
            self._waits[0] -= 1
            return None
        if self._left[0] == ord("!"):
            raise ArgumentError("nobody says that aloud")
        return (1 << self._left[0]).to_bytes(33, "little")

    def take(self, token: int) -> None:
        assert token == self._left.popleft()
        if self._waits:
            self._waits.popleft()


class Spell(Decode, kw_only=True):
    """Decode a text."""

    batches_with = Decode
    text: str
    waits: list[int] = []

    @property
    def guide(self) -> Spelling:
        return Spelling(self.text.encode(), self.waits)


class SpellHandler:
    def __init__(self, decode: DecodeHandler) -> None:
        self.spell = decode.decode


class WithSteps(FakeHandler):
    """Has steps of its own, of decodes that are not guided; they draw an "x"."""

    apart = False

    def open_steps(self) -> WithSteps:
        return self

    def takes(self, run: Run) -> bool:
        return run.pending is not None and run.guide is None

    def step(self, runs: Sequence[Run]) -> None:
        for run in runs:
            run.has_run()
            run.take(ord("x"))


def spelling(build: type[FakeHandler] = FakeHandler) -> tuple[Program, Program]:
    """Two programs that have run a token, on a model with `spell`."""
    trait = Trait("spell", "1.0", "Spell.", (Spell,), ("decode>=1",))
    specs = [*(replace(spec, build=build) for spec in fake_handlers()), *load_handlers("fake", "", Selection())]
    specs.append(HandlerSpec("spell>=1", "any", lambda ground: SpellHandler(ground.handlers["decode"])))
    registry = Registry([*load_registry(Selection()).traits.values(), trait])
    backend = FakeBackend()
    rig = make_rig(backend=backend, realization=realize(registry, specs, "fake", backend))
    return rig.open("a"), rig.open("b")


def ready(p: Program) -> tuple[list[int], list[int], list[int], list[int]]:
    emb, pages = p.call("alloc_emb", 1), p.call("alloc_kvpage", 2)
    p.call("embed_txt", [65], [0], emb)
    p.call("forward", [], emb, pages, emb)
    return pages, emb, pages, emb


@pytest.mark.parametrize("build", [FakeHandler, WithSteps])
def test_a_guide_that_is_not_ready_sits_out_steps_and_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, build: type[FakeHandler]
) -> None:
    """It is waited for when it is alone."""
    waited: list[float] = []
    allowed = Spelling.allowed

    def told(self: Spelling, patience_s: float) -> bytes | None:
        waited.append(patience_s)
        return allowed(self, patience_s)

    monkeypatch.setattr(Spelling, "allowed", told)
    p, other = spelling(build)
    slow = p.call(
        "spell",
        *ready(p),
        9,
        "abc",
        None,
        [],
        [],
        0.0,
        256,
        1.0,
        0.0,
        0,
        0,
        [],
        [],
        0.0,
        0.0,
        [],
        None,
        None,
        [0, 40, 1],
    )
    quick = other.call("decode", *ready(other), 20)
    while not quick.done:
        assert p.rig.loop.step()
    assert not slow.done and waited[1:] == [0.0] * (len(waited) - 1)
    together = len(waited)
    p.rig.loop.run()
    assert waited[together + 1 :].count(PATIENCE_S) > 20
    assert slow.result() == list(b"abc") and len(quick.result()) == 20


def test_what_a_guide_raises_fails_its_decode_and_no_other() -> None:
    p, other = spelling()
    wrong, right = p.call("spell", *ready(p), 9, "ab!"), other.call("spell", *ready(other), 9, "abcdef")
    p.rig.loop.run()
    assert "nobody says that aloud" in str(wrong.error) and right.result() == list(b"abcdef")
