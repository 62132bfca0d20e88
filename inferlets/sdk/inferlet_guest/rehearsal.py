"""Runs a small program while the component is built, over imports that are pretended where they leave the component.

CPython writes into the code of a function when it runs for the first times (PEP 659), and makes some objects only
when they are needed. After a rehearsal all of this is in the snapshot, which all instances share, and programs start
faster.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from types import SimpleNamespace
from typing import Any, Protocol

from inferlet.bindings import Declaration

from inferlet_guest.app import App
from inferlet_guest.host import Imports
from inferlet_guest.modules import File

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
_ANSWERS: dict[str, Callable[..., Any]] = {
    "wait": lambda tickets: tickets,
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


class Runtime(Protocol):
    """The module through which generated functions leave the component."""

    call_import: Any
    """Takes the number of the import and a list of arguments."""


class Rehearsal:
    """Runs the program, as often as it is called. `app` is of these imports and declarations.

    done: makes what an import with a `result` type returns of the value in it.
    """

    def __init__(
        self,
        app: App,
        imports: Imports,
        declarations: Sequence[Declaration],
        runtime: Runtime,
        done: Callable[[Any], Any],
    ) -> None:
        self._app, self._runtime = app, runtime
        futures = {each["call"]: each["future"] for each in declarations}
        self._program = File(_NAME, _ANY + (_TEXT if futures.keys() >= _TEXT_NEEDS else ""))
        numbers = count(1)
        answers = _ANSWERS | {name: lambda *_: next(numbers) for name, future in futures.items() if future}
        answers["get"] = lambda: [self._program]
        functions = _functions(imports, declarations)
        self._fetched = "get" in functions
        self._answers = {
            _number_of(function, runtime): _answer(function, answers.get(name, lambda *_: None), done)
            for name, function in functions.items()
        }

    def __call__(self) -> None:
        """Run it once; all that a run changes is put back."""
        leave = self._runtime.call_import
        self._runtime.call_import = lambda number, arguments: self._answers[number](*arguments)
        try:
            self._app.rehearse(self._program, self._fetched)
        finally:
            self._runtime.call_import = leave


def _functions(imports: Imports, declarations: Sequence[Declaration]) -> dict[str, Callable[..., Any]]:
    """What the component imports."""
    wanted = [("tickets", name) for name in ("wait", "outcome", "drop")]
    wanted += [("runtime", "output"), ("runtime", "sleep")]
    for each in declarations:
        wanted.append((each["trait"], each["call"]))
        if each["future"] and each["returns"] != "none":
            wanted.append((each["trait"], f"{each['call']}_result"))
    found = {name: imports.function(trait, name) for trait, name in wanted}
    with suppress(ModuleNotFoundError):  # a component with its program inside
        found["get"] = imports.function("source", "get")
    return found


class _AskedError(BaseException):
    """Tells the number of an import. Not an `Exception`, so that no generated function takes it for an error."""


def _number_of(function: Callable[..., Any], runtime: Runtime) -> int:
    """The number by which a generated function leaves."""

    def ask(number: int, _: Any) -> None:
        raise _AskedError(number)

    leave, runtime.call_import = runtime.call_import, ask
    try:
        function(*[None] * function.__code__.co_argcount)
    except _AskedError as asked:
        return int(asked.args[0])
    finally:
        runtime.call_import = leave
    raise AssertionError(f"{function.__name__} does not leave the component")


def _answer(function: Callable[..., Any], answer: Callable[..., Any], done: Callable[[Any], Any]) -> Callable[..., Any]:
    """As `call_import` returns it: a generated function whose type is a `result` looks for an `Err`."""
    if "Err" not in function.__code__.co_names:
        return answer
    return lambda *arguments: done(answer(*arguments))
