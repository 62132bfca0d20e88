"""Where plain decodes run ahead of the host, as on a GPU, guided ones take the plain steps beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from pie_backend_torch.ahead.steps import StepsAhead
from pie_backend_torch.handlers.forward import ForwardHandler
from pie_backend_torch.options import TorchOptions
from pie_backend_torch.plugin import load

from pie_core.controller import find_model
from pie_core.plugins import Selection
from pie_core.registry import load_handlers, load_registry, realize
from pie_core.testing.rig import Program, Rig, make_rig

GUIDED, PLAIN = "[a-z]{90}", None


class Ahead(ForwardHandler):
    """As on a GPU."""

    def open_steps(self) -> StepsAhead:
        return StepsAhead(self._backend)


def make(ahead: bool) -> Rig:
    options = TorchOptions(pages=128, embeds=1024, dtype="float32", threads=1)
    backend = load(find_model("pico", Selection()), options, lambda stage, share: None)
    specs = load_handlers("torch", "pie-backend-torch", Selection())
    if ahead:
        specs = [dataclasses.replace(one, build=Ahead) if one.trait_name == "forward" else one for one in specs]
    return make_rig(backend=backend, realization=realize(load_registry(Selection()), specs, "torch", backend))


def drawn(rig: Rig, grammars: Sequence[str | None]) -> list[Any]:
    """What decodes draw that run together, each under a grammar or under none."""
    tickets = []
    for number, grammar in enumerate(grammars):
        p: Program = rig.open(f"p{number}")
        (emb,), pages = p.call("alloc_emb", 1), p.call("alloc_kvpage", 4)
        p.call("embed_txt", [65 + number], [0], [emb])
        p.call("forward", [], [emb], pages, [emb])
        at, how = (pages, [emb], pages, [emb], 30), (None, [], [], 1.0, 40, 1.0, 0.0, 7, 0)
        if grammar is None:
            tickets.append(p.call("decode", *at, *how))
        else:
            matcher = p.call("alloc_matcher", 1)
            p.call("set_grammar", matcher, "regex", grammar)
            tickets.append(p.call("decode_guided", *at, matcher, *how))
    rig.loop.run()
    return [ticket.result() for ticket in tickets]


def test_guided_decodes_and_such_as_run_ahead_are_what_they_are_alone() -> None:
    kinds = (GUIDED, PLAIN, "[0-9 ]{90}", PLAIN)
    assert drawn(make(ahead=True), kinds) == drawn(make(ahead=False), kinds)
