"""Launches and kills, and whether anything grows: memory, mappings, file descriptors, threads, tasks, pages, Embeds.

    python benchmarks/soak.py [--inferlets 10000] [--every 1000] [--at-once 16] [--seed 1]

One process, sandboxed tier, a backend that computes nothing but takes half a millisecond for a forward. Programs in
Python, C and bare WebAssembly compute, wait for forwards, sleep, wait for a message, fail or finish; each is killed
before its first turn, within its first turns, once it is at work, or after its end. The seed decides which program is
killed when. Prints a row after every `--every` of them and one with the verdict; exit code 1 if the last quarter of the
rows is beyond the second by more than the noise (`NOISE`), or anything is still held.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import click
import psutil
import structlog
import wasmtime
from programs import BuildError, c_component, next_event
from report import emit, machine, usage

from pie_core.application.application import Application
from pie_core.application.events import Ended, Message
from pie_core.application.inferlet import Inferlet
from pie_core.application.program import Program
from pie_core.application.wasm.cache import ComponentCache
from pie_core.application.wasm.tier import WasmTier
from pie_core.loaded import LoadedModel
from pie_core.testing import FakeBackend, fake_handlers, fake_model
from pie_core.testing.fake import FakeHandler

NOISE = {"rss_mb": 2.0, "private_mb": 2.0, "maps": 8, "fds": 0, "threads": 0}  # growth that says nothing
FORWARD_S = 0.0005
LONGEST_S = 60.0  # for anything to end
FOREVER = str(10**9)

PYTHON = """
from inferlet import *

async def main():
    kind = get_arg()[0]
    q = get_auto_model().create_queue()
    pages, emb = alloc_kvpage(q, 2), alloc_emb(q, 1)
    embed_txt(q, 1, 0, emb)
    send("ready")
    if kind == "sleep":
        await sleep(3600)
    if kind == "fail":
        raise RuntimeError("on purpose")
    while kind == "compute":
        pass
    while True:
        for _ in range(8):
            await forward(q, pages, emb, pages, emb)
        if kind == "finish":
            return "done"
        dealloc_kvpage(q, pages)
        pages = alloc_kvpage(q, 2)
"""
BARE = """
(component
  (import "pie:core/types@1.0.0" (instance $types
    (type $e (record (field "code" string) (field "message" string))) (export "error" (type (eq $e)))))
  (alias export $types "error" (type $error))
  (core module $m
    (memory (export "memory") 1)
    (func (export "run") (result i32) {body} (i32.const 64)))
  (core instance $i (instantiate $m))
  (func $run (result (result (option string) (error $error)))
    (canon lift (core func $i "run") (memory (core memory $i "memory"))))
  (export "run" (func $run)))
"""


@dataclass(frozen=True)
class Guest:
    """A program and what it does. `says`: it sends a message when it is at work; `ends`: by itself."""

    name: str
    program: Program
    arguments: Sequence[str]
    says: bool = True
    ends: bool = False
    go: bool = False  # it waits for a message before it does anything


MOMENTS = ("before its first turn", "in its first turns", "at work", "after its end")


class SlowForward(FakeHandler):
    """Takes its time, so that guests are killed while they wait for it."""

    def forward(self, batch: Sequence[Any]) -> None:
        """As on a device that works."""
        time.sleep(FORWARD_S)
        super().forward(batch)


def guests() -> list[Guest]:
    """All there are; those in C only where it can be built."""
    python = Program("soak", PYTHON, "soak.py")
    kinds = ("compute", "forwards", "sleep", "finish", "fail")
    found = [Guest(f"python {kind}", python, [kind], ends=kind in ("finish", "fail")) for kind in kinds]
    for name, body in (("loop", "(loop (br 0))"), ("return", "")):
        wasm = bytes(wasmtime.wat2wasm(BARE.replace("{body}", body)))
        found.append(Guest(f"bare {name}", Program(name, "", f"{name}.wasm", wasm), [], False, name == "return"))
    try:
        program = c_component()
    except BuildError as error:
        emit({"benchmark": "soak", "program": "c", "skipped": str(error)})
        return found
    return [
        *found,
        Guest("c waits for a message", program, ["forwards", "8"]),
        Guest("c calls", program, ["calls", FOREVER], go=True),
        Guest("c forwards", program, ["forwards", "60"], ends=True, go=True),
        Guest("c gathered", program, ["gathered", "60"], ends=True, go=True),
    ]


def plan(found: Sequence[Guest], count: int, seed: int) -> Iterator[tuple[Guest, str, random.Random]]:
    """Who is killed when; with randomness for the rest."""
    chance = random.Random(seed)
    for _ in range(count):
        guest = chance.choice(found)
        moment = chance.choice([m for m in MOMENTS if guest.ends or m != MOMENTS[3]])
        yield guest, moment, random.Random(chance.random())


class Soak:
    """An application whose programs are launched and killed."""

    def __init__(self, tier: WasmTier, model: LoadedModel) -> None:
        self._model = model
        self.application = Application({model.info.name: model}, tier)
        self.ends: Counter[str] = Counter()

    async def run(self, steps: Iterator[tuple[Guest, str, random.Random]], at_once: int) -> None:
        """All steps of the iterator, by workers that share it."""

        async def worker() -> None:
            for guest, moment, chance in steps:
                async with asyncio.timeout(LONGEST_S):
                    await self._one(guest, moment, chance)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(worker())

    async def _one(self, guest: Guest, moment: str, chance: random.Random) -> None:
        inferlet = await self.application.launch(guest.program, guest.arguments)
        if moment == MOMENTS[1]:
            for _ in range(chance.randrange(1, 20)):
                await asyncio.sleep(0)
        elif moment != MOMENTS[0]:
            if guest.says:
                await self._message(inferlet)
            if guest.go:
                inferlet.deliver("go")
            if moment == MOMENTS[2]:
                await asyncio.sleep(chance.random() * 0.01)
            else:
                await self._end(inferlet)
        self.application.stop(inferlet, "on purpose")
        if moment != MOMENTS[3]:
            await self._end(inferlet)

    async def _message(self, inferlet: Inferlet) -> None:
        event = await next_event(inferlet)
        assert isinstance(event, Message), event

    async def _end(self, inferlet: Inferlet) -> None:
        while not isinstance(event := await next_event(inferlet), Ended):
            pass
        self.ends[event.status] += 1

    async def settle(self) -> dict[str, int]:
        """What is still held when everything has had time to end: nothing, if all is well."""
        deadline = time.monotonic() + LONGEST_S
        while any(self._held().values()) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        gc.collect()
        return self._held()

    def _held(self) -> dict[str, int]:
        pools = {kind.kind: pool.capacity - pool.free for kind, pool in self._model.layer.pools.items()}
        return {**pools, "inferlets": len(self.application.inferlets), "tasks": len(asyncio.all_tasks()) - 1}


def growth(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The last quarter of the rows less the second one, by medians."""
    quarter = len(rows) / 4
    second, last = rows[round(quarter) : round(2 * quarter)], rows[round(3 * quarter) :]
    grown = {}
    for name in NOISE:
        before, after = (statistics.median(row[name] for row in part) for part in (second, last))
        grown[name] = round(after - before, 2)
    return grown


async def soak(inferlets: int, every: int, at_once: int, seed: int) -> bool:
    """Print the rows; whether nothing grew."""
    handlers = [replace(spec, build=SlowForward) for spec in fake_handlers()]
    model = fake_model(FakeBackend(pages=at_once * 10, embeds=at_once * 10, page_size=32), handlers=handlers)
    tier, process, facts = WasmTier(model.known_traits, ComponentCache()), psutil.Process(), machine()
    await tier.warm_up()
    running, found, rows = Soak(tier, model), guests(), []
    steps = plan(found, inferlets, seed)
    held: dict[str, int] = {}
    for done in range(every, inferlets + 1, every):
        started = time.perf_counter()
        await running.run(islice(steps, every), at_once)
        rate = round(every / (time.perf_counter() - started), 1)
        held = await running.settle()
        assert running.ends.total() == done, running.ends
        rows.append({"inferlets": done, **usage(process), "held": held, "ends": dict(running.ends), "per_s": rate})
        emit({"benchmark": "soak", **rows[-1], "seed": seed, **facts})
        if any(held.values()):
            break
    await running.application.shut_down("done")
    model.close()
    grown = growth(rows)
    bad = sorted({name for name, by in grown.items() if by > NOISE[name]} | {name for name, n in held.items() if n})
    emit({"benchmark": "soak", "verdict": "grows" if bad else "steady", "what": bad, "growth": grown, "noise": NOISE})
    return not bad


@click.command(help=__doc__)
@click.option("--inferlets", default=10_000)
@click.option("--every", default=1000, type=click.IntRange(1))
@click.option("--at-once", default=16, type=click.IntRange(1))
@click.option("--seed", default=1)
def main(inferlets: int, every: int, at_once: int, seed: int) -> None:
    """Entry point."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if inferlets < 8 * every:
        raise click.BadParameter(
            "at least eight rows are needed to compare quarters: raise --inferlets or lower --every"
        )
    sys.exit(0 if asyncio.run(soak(inferlets, every, at_once, seed)) else 1)


if __name__ == "__main__":
    main()
