"""Runs a small program over pretended imports while the component is built.

CPython writes into the code of a function when it runs for the first times (PEP 659), and makes some objects only
when they are needed. After a rehearsal all of this is in the snapshot, which all instances share, and programs start
faster.
"""

from __future__ import annotations

import json
import linecache
import sys
from collections.abc import Callable, Iterable, Sequence
from contextvars import copy_context
from itertools import count
from types import SimpleNamespace
from typing import Any

from inferlet.bindings import Declaration

from inferlet_guest.app import MODULE, App
from inferlet_guest.modules import File

_TIMES = 8
_NAME = "rehearsal.py"
_ANY = """
import asyncio
from inferlet import *

async def main():
    async def branch(number):
        await asyncio.sleep(0.0)
        async with asyncio.timeout(60.0):
            return await receive()
    model = get_auto_model()
    queue = create_queue(model)
    get_arg(), flags(), get_version()
    send("text")
    print("text", 1)
    await receive()
    await asyncio.gather(*[branch(number) for number in range(2)])
    async with asyncio.TaskGroup() as group:
        group.create_task(branch(0))
"""
_TEXT = """
    pages, embeds = alloc_kvpage(queue, 1), alloc_emb(queue, 1)
    for step in range(2):
        embed_txt(queue, 1, step, embeds)
        forward(queue, pages, embeds, pages, embeds)
        (await get_next_dist(queue, embeds, 1)).max_index()
    await synchronize(queue)
    dealloc_emb(queue, embeds)
    dealloc_kvpage(queue, pages)
    with model.create_context() as context:
        await context.fill("text")
        async for piece in context.stream(greedy(), max_tokens(4)):
            pass
        await context.generate_until(2, "end", sampling(0.5, top_p=0.5))
    return "text"
"""
_TEXT_NEEDS = {"alloc_kvpage", "alloc_emb", "embed_txt", "forward", "get_next_dist", "tokenize", "detokenize"}
_FACTS = {
    "name": "model",
    "traits": [],
    "description": "",
    "version": "",
    "license": "",
    "prompt_template": "",
    "kvpage_size": 16,
    "vocab_size": 8,
    "max_position": 64,
    "bos_token": None,
    "eos_tokens": [],
    "special_tokens": [],
    "adapters": [],
}


def rehearse(failure: type[Exception], declarations: Sequence[Declaration]) -> None:
    """Run the program a few times, and put back what a run changes. `failure`: see `Imports`."""
    output = sys.stdout, sys.stderr
    imports = _Pretended(failure, declarations)
    for _ in range(_TIMES):
        app = App(imports, declarations, None)
        copy_context().run(app.run)
    sys.stdout, sys.stderr = output
    linecache.cache.pop(_NAME)
    del sys.modules[MODULE]


class _Pretended:
    """Imports that answer at once, without a server."""

    def __init__(self, failure: type[Exception], declarations: Iterable[Declaration]) -> None:
        self.failure = failure
        self._numbers = count(1)
        futures = {each["call"]: each["future"] for each in declarations}
        text = _ANY + (_TEXT if futures.keys() >= _TEXT_NEEDS else "")
        self._answers: dict[str, Callable[..., Any]] = {
            "get": lambda: [File(_NAME, text)],
            "wait": lambda tickets: tickets,
            "outcome": lambda ticket: None,
            "drop": lambda tickets: None,
            "output": lambda text: None,
            "model_names": lambda: ["model"],
            "model_facts": lambda model: json.dumps(_FACTS),
            "get_arg": lambda: ["text"],
            "get_flags": lambda: "{}",
            "get_version": lambda: "1",
            "receive_result": lambda ticket: "text",
            "create_queue": lambda model: 1,
            "alloc_kvpage": lambda queue, n: list(range(n)),
            "alloc_emb": lambda queue, n: list(range(n)),
            "tokenize": lambda queue, text: [1, 2],
            "detokenize": lambda queue, ids: "a",
            "get_next_dist_result": lambda ticket: SimpleNamespace(ids=[1, 2], probs=[0.5, 0.25], rest=0.25),
        }
        self._answers |= {name: lambda *_: next(self._numbers) for name, future in futures.items() if future}

    def function(self, trait: str, name: str) -> Callable[..., Any]:
        """See `inferlet_guest.host.Imports.function`."""
        return self._answers.get(name, lambda *_: None)

    def mask(self, rows: int, cols: int, data: bytes) -> Any:
        """See `inferlet_guest.host.Imports.mask`."""
        return rows, cols, data
