"""The same program gives the same, trusted and in the sandbox: output, messages, result, errors, tracebacks."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pie_core.application.capabilities import Capabilities
from pie_core.application.events import Ended
from pie_core.application.manifest import Manifest
from pie_core.application.program import installed_programs, read_program
from pie_core.application.wasm.tier import WasmTier
from pie_core.controller import Controller, Settings
from pie_core.plugins import Selection
from pie_core.testing.run import Outcome, run_inferlet

PROLOGUE = "import asyncio\nfrom inferlet import *\n"
SNIPPETS = {
    "prints": """
async def main():
    print("one", 2, sep="-", end="!\\n")
    print("zwei", "\u00fc\u4e2d", flush=True)
    send("text"); send_blob(b"\\0\\xff")
    return "value"
""",
    "raises": """
def helper(x):
    return 1 / x
async def main():
    try:
        helper(0)
    except ZeroDivisionError as error:
        raise ValueError("wrapped") from error
""",
    "exits": "async def main():\n    raise SystemExit(3)\n",
    "returns_a_number": "async def main():\n    return 3\n",
    "set_return": "async def main():\n    set_return('kept')\n",
    "messages": """
async def main():
    first = await receive()
    return first + await receive()
""",
    "times_out": """
async def main():
    try:
        async with asyncio.timeout(0.05):
            await receive()
            await receive()
            await receive()
    except TimeoutError:
        print("in time")
    for delay in (0.02, 0.01):
        await asyncio.sleep(delay)
    await sleep(0.01)
    return "done"
""",
    "adapters": """
async def main():
    model = get_auto_model()
    print(list_adapters(model), model.adapters)
    q = create_queue(model)
    try:
        forward_with_adapter(q, "poet", [], alloc_emb(q, 1), alloc_kvpage(q, 1), [])
    except ArgumentError as error:
        print(error)
""",
    "bad_arguments": """
async def main():
    model = get_auto_model()
    q = model.create_queue()
    for attempt in (
        lambda: alloc_kvpage(q, -1),
        lambda: alloc_kvpage(q, 10**9),
        lambda: alloc_kvpage("queue", 1),
        lambda: dealloc_kvpage(q, [123456]),
        lambda: embed_txt(q, [1, 2], [0], alloc_emb(q, 1)),
        lambda: embed_txt(q, [10**8], [0], alloc_emb(q, 1)),
        lambda: forward(q, [], [], [], []),
        lambda: tokenize(q, 5),
        lambda: get_model("picco"),
        lambda: import_kvpage("nothing"),
        lambda: export_kvpage(alloc_kvpage(q, 1), "x", 0),
        lambda: debug_query(q, "nothing"),
        lambda: mask_kvpage(q, alloc_kvpage(q, 1), [True]),
    ):
        try:
            print("no error:", attempt())
        except PieError as error:
            print(type(error).__name__, error)
""",
    "skipped_command": """
async def main():
    model = get_auto_model()
    q = model.create_queue()
    pages, embs = alloc_kvpage(q, 1), alloc_emb(q, 2)
    try:
        forward(q, [], embs[:1], pages, embs[1:])
    except PieError as error:
        print(type(error).__name__, error)
    await synchronize(q)
""",
    "branches": """
async def main():
    with get_auto_model().create_context() as trunk:
        await trunk.fill("The capital of France is")
        async def branch(top_k):
            with trunk.fork() as context:
                dist = await context.next_dist(top_k)
                return [round(p, 5) for p in dist.probs], list(dist.ids), round(dist.rest, 5)
        for found in await asyncio.gather(*(branch(k) for k in (1, 3, 70, None))):
            print(len(found[1]), found[0][:3], found[1][:3], found[2])
        trunk.mask([0, 1])
        print((await trunk.next_dist(3)).ids[0])
        trunk.truncate(3)
        print((await trunk.next_dist(3)).ids[0])
        trunk.export("prefix")
        with Context.open(get_auto_model(), "prefix", trunk.tokens) as again:
            print((await again.next_dist(3)).ids[0])
        release_kvpage("prefix")
        print(exported_kvpages())
""",
    "explicit_mask": """
async def main():
    model = get_auto_model()
    q = model.create_queue()
    pages, embs, out = alloc_kvpage(q, 1), alloc_emb(q, 5), alloc_emb(q, 1)
    embed_txt(q, [5, 6, 7, 8, 9], list(range(5)), embs)
    mask = [[column <= row and column % 3 != 1 or column == row for column in range(5)] for row in range(5)]
    forward(q, [], embs, pages, out, mask)
    dist = await get_next_dist(q, out, 4)
    print(dist.ids, type(dist.probs), [round(p, 5) for p in dist.probs])
""",
    "samples": """
async def main():
    with get_auto_model().create_context() as context:
        await context.user("Hello")
        print(await context.generate(sampling(0.9, top_p=0.9, seed=7), max_tokens(12)))
""",
    "tasks": """
async def main():
    async def fails():
        await asyncio.sleep(0.01)
        raise KeyError("inside")
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            group.create_task(asyncio.sleep(10))
    except* KeyError as errors:
        print(repr(errors.exceptions))
    task = asyncio.create_task(asyncio.sleep(10))
    task.cancel()
    print((await asyncio.gather(task, return_exceptions=True))[0].__class__.__name__)
""",
}
MARKS = re.compile(r"\n\s*[~^]+(?=\n|$)")  # under the lines of a traceback; Python's versions draw them differently
PROGRAMS = {name: (path, []) for name, path in installed_programs(Selection()).items()}
PROGRAMS |= {
    "text_completion sampled": (
        PROGRAMS["text_completion"][0],
        ["--chat", "--prompt", "What is the capital of Italy?", "--temperature", "0.8", "--seed", "3"],
    ),
    "low_level_completion fresh pages": (PROGRAMS["low_level_completion"][0], ["--fresh-pages"]),
}


def run_both(
    program: Path | str, arguments: list[str], messages: list[str], wishes: Manifest | None = None
) -> tuple[Outcome, Outcome]:
    """wishes: a manifest; what it wants to reach is granted."""
    granted = Capabilities.of(wishes.hosts, wishes.spawn) if wishes is not None else None

    async def go() -> tuple[Outcome, Outcome]:
        settings = Settings("pico", "torch", {"pages": "256", "dtype": "float32"})
        async with Controller(settings) as controller:
            (model,) = controller.models.values()
            given: dict[str, Any] = {"arguments": arguments, "messages": messages, "models": controller.models}
            given |= {"capabilities": granted, "sandbox": lambda: WasmTier(model.known_traits)}
            trusted = await run_inferlet(program, **given)
            return trusted, await run_inferlet(program, **given, tier=WasmTier(model.known_traits))

    return asyncio.run(go())


def without_marks(outcome: Outcome) -> Outcome:
    ended = outcome.ended
    error = None if ended.error is None else MARKS.sub("", ended.error)
    return replace(outcome, ended=Ended(ended.status, ended.value, ended.code, error))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_does_the_same_in_the_sandbox(name: str) -> None:
    path, arguments = PROGRAMS[name]
    trusted, sandboxed = run_both(path, arguments, [], read_program(path).manifest)
    assert trusted.ended.status == "finished"
    assert trusted.output or trusted.messages or trusted.ended.value
    assert sandboxed == trusted


@pytest.mark.parametrize("name", SNIPPETS)
def test_so_does_every_kind_of_thing_a_program_can_do(name: str) -> None:
    trusted, sandboxed = run_both(PROLOGUE + SNIPPETS[name], [], ["one ", "two"])
    assert without_marks(sandboxed) == without_marks(trusted)
