"""What the handler asks of those of the text traits, and where it ends for a text that is waited for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from pie_traits_decode.breaks import Breaks

from pie_core import Command
from pie_core.plugins import Selection
from pie_core.registry import load_handlers, load_registry, realize
from pie_core.testing import FakeBackend, fake_handlers
from pie_core.testing.fake import FakeHandler
from pie_core.testing.rig import make_rig


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
