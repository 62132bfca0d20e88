"""What a token costs in the layers, beside the model: the paper's overhead by component (Gim et al. 2025, section 7).

    python benchmarks/overhead.py [--programs 1,8,32,128] [--tiers native,wasm] [--tokens 2000] [--launches 50]

The backend does nothing (its handlers answer at once), so what is measured is programs, layers and threads. A token is
drawn in two ways: by three calls of the program (`get_next_dist`, `embed_txt`, `forward`), or by trait decode, 32 in
one call. Prints a JSON line for each tier, way and number of programs, one for launches and calls of one program, and a
table on the error stream.

Microseconds of processor time of one token, so that what else runs on the machine matters little: in all (`cpu_us`),
and by component, measured in a run of its own, where each measuring takes a microsecond or two. `step_us` is wall time:
how long it takes until every program has its next token. Components:

    program        inside the guest; in the trusted tier it cannot be told from the application layer
    application    crossings between guest and host, tickets, the event loop
    control        `ControlLayer`, `Scheduler`: checks, handles, dependencies, completions
    batching       choosing a wave
    inference      running waves and steps on the device thread
    handlers       of the traits; those of decode draw from the distribution
    threads        waiting and waking between the control thread and the device thread
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import click
from pie_traits_decode.handler import DecodeHandler
from programs import next_event
from report import Columns, emit, machine, print_table
from sandbox import Idle, finish, quieten

from pie_core.application.application import Application
from pie_core.application.events import Message
from pie_core.application.native import NativeTier
from pie_core.application.program import Program
from pie_core.application.tier import Tier
from pie_core.application.wasm import ffi
from pie_core.application.wasm.tier import WasmTier
from pie_core.control import scheduler
from pie_core.control.layer import ControlLayer
from pie_core.inference.device import WaveRunner
from pie_core.inference.stepping import Stepping
from pie_core.loaded import LoadedModel
from pie_core.plugins import Selection
from pie_core.registry import load_handlers, load_registry
from pie_core.testing import FakeBackend, fake_handlers, fake_model

STEPS = 64  # tokens that each program draws
CALLS = 500  # of each kind, by one program
COMPONENTS = ("program", "application", "control", "batching", "inference", "handlers", "threads")
PROGRAM = """
from inferlet import *

async def main():
    what, count = get_arg()
    model = get_auto_model()
    q = model.create_queue()
    pages, emb = alloc_kvpage(q, 3), alloc_emb(q, 1)
    embed_txt(q, 1, 0, emb)
    await forward(q, [], emb, pages, emb)
    send("ready")
    await receive()
    await globals()[what](model, q, pages, emb, int(count))

async def calls(model, q, pages, emb, count):
    for step in range(count):
        token = (await get_next_dist(q, emb, 1)).max_index()
        embed_txt(q, token, step + 1, emb)
        forward(q, pages, emb, pages, emb)
    await synchronize(q)

async def bursts(model, q, pages, emb, count):
    last = None
    for _ in range(count // 32):
        last = (await decode(q, pages, emb, pages, emb, 32, last))[-1]

async def runtime(model, q, pages, emb, count):
    for _ in range(count):
        get_version()

async def query(model, q, pages, emb, count):
    for _ in range(count):
        tokenize(q, "a")

async def command(model, q, pages, emb, count):
    for step in range(count):
        embed_txt(q, 1, 0, emb)

async def awaited(model, q, pages, emb, count):
    for step in range(count):
        await get_next_dist(q, emb, 1)
"""
WAYS = {"calls": "by three calls", "bursts": "by decode"}
COLUMNS: Columns = {
    "tier": "tier",
    "a token is drawn": lambda row: WAYS[row["way"]],
    "programs": "programs",
    "step, us": lambda row: round(row["step_us"]),
    "CPU, us": lambda row: round(row["cpu_us"]),
    "program": lambda row: row["program"] or None,
    **{name: name for name in COMPONENTS[1:]},
}


class Meter:
    """Processor time of functions, each without that of the ones it calls which are measured, too."""

    def __init__(self) -> None:
        self.on = False
        self.spent_s: dict[str, float] = defaultdict(float)
        self._stacks = threading.local()

    def timed(self, component: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, measured as part of a component."""

        def timed(*arguments: Any, **options: Any) -> Any:
            if not self.on:
                return function(*arguments, **options)
            stack = self._stacks.__dict__.setdefault("stack", [])
            stack.append(0.0)
            began = time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                took = time.thread_time() - began
                self.spent_s[component] += took - stack.pop()
                if stack:
                    stack[-1] += took

        return timed

    def install(self) -> None:
        """For all that is made from now on."""
        for owner, component, names in (
            (ControlLayer, "control", ("call",)),
            (scheduler.Scheduler, "control", ("consider", "_completed", "_concluded")),
            (scheduler, "batching", ("form_wave",)),
            (WaveRunner, "inference", ("run",)),
            (Stepping, "inference", ("step",)),
            (Idle, "handlers", ("forward", "embed_txt", "get_next_dist")),
            (DecodeHandler, "handlers", ("decode", "ride_decode", "rode_decode")),
            (ffi, "program", ("poll",)),
        ):
            for name in names:
                setattr(owner, name, self.timed(component, getattr(owner, name)))
        for kind in ("SYNC_CALLBACK", "ASYNC_CALLBACK"):
            wrap = getattr(ffi, kind)
            setattr(ffi, kind, lambda function, wrap=wrap: wrap(self.timed("application", function)))


def idle_model(programs: int) -> LoadedModel:
    """A model whose commands cost nothing, with all traits that are installed."""
    handlers = [*(replace(spec, build=Idle) for spec in fake_handlers()), *load_handlers("fake", "", Selection())]
    backend = FakeBackend(pages=programs * 4, embeds=programs * 2, page_size=32)
    return fake_model(backend, load_registry(Selection()), handlers)


class Bench:
    """A tier, and a model that it has to itself."""

    def __init__(self, tier: Tier, programs: int, meter: Meter) -> None:
        self._meter, self._programs = meter, programs
        self._model = idle_model(programs)
        self._application = Application({self._model.info.name: self._model}, tier)
        self._program = Program("overhead", PROGRAM, "overhead.py")

    async def spent(self, what: str, count: int) -> dict[str, float]:
        """Seconds that all programs need for `count` times something: of the wall, of the processor, by component."""
        begun = [await self._application.launch(self._program, [what, str(count)]) for _ in range(self._programs)]
        for inferlet in begun:
            assert isinstance(await next_event(inferlet), Message)
        self._meter.spent_s.clear()
        wall, cpu, mine = time.perf_counter(), time.process_time(), time.thread_time()
        for inferlet in begun:
            inferlet.deliver("go")
        await asyncio.gather(*(finish(inferlet) for inferlet in begun))
        wall, cpu, mine = time.perf_counter() - wall, time.process_time() - cpu, time.thread_time() - mine
        parts = dict(self._meter.spent_s)
        here = sum(parts.get(name, 0.0) for name in ("program", "application", "control", "batching"))
        there = sum(parts.get(name, 0.0) for name in ("inference", "handlers"))
        parts["application"] = parts.get("application", 0.0) + mine - here
        parts["threads"] = cpu - mine - there
        return {"wall": wall, "cpu": cpu, **parts}

    async def tokens(self, way: str, repeats: int) -> dict[str, Any]:
        """A row of tokens drawn in one way: medians over repeats."""
        plain = [await self.spent(way, STEPS) for _ in range(repeats)]
        self._meter.on = True
        parts = [await self.spent(way, STEPS) for _ in range(repeats)]
        self._meter.on = False
        each = 1e6 / STEPS / self._programs
        return {
            "step_us": round(statistics.median(run["wall"] for run in plain) * 1e6 / STEPS, 1),
            "cpu_us": round(statistics.median(run["cpu"] for run in plain) * each, 1),
            **{name: round(statistics.median(run.get(name, 0.0) for run in parts) * each, 1) for name in COMPONENTS},
        }

    async def launch_ms(self) -> float:
        """From the launch of one until it can make calls."""
        began = time.perf_counter()
        inferlet = await self._application.launch(self._program, ["runtime", "0"])
        await next_event(inferlet)
        took = time.perf_counter() - began
        inferlet.deliver("go")
        await finish(inferlet)
        return took * 1e3

    async def close(self) -> None:
        """Free all."""
        await self._application.shut_down("done")
        self._model.close()


async def singly(bench: Bench, launches: int) -> dict[str, Any]:
    """What one program's launch takes, and each of its calls."""
    await bench.launch_ms()
    times = [await bench.launch_ms() for _ in range(launches)]
    row: dict[str, Any] = {"launch_ms": round(statistics.median(times), 3)}
    for what in ("runtime", "query", "command", "awaited"):
        runs = [await bench.spent(what, CALLS) for _ in range(5)]
        row[f"{what}_us"] = round(statistics.median(run["cpu"] for run in runs) / CALLS * 1e6, 2)
    return row


def tiers(names: Sequence[str]) -> dict[str, Callable[[], Tier]]:
    """How to make each; a tier ends with its application."""
    model = idle_model(1)
    known = model.known_traits
    model.close()
    makers: dict[str, Callable[[], Tier]] = {"native": NativeTier, "wasm": lambda: WasmTier(known)}
    return {name: makers[name] for name in names}


async def run(programs: Sequence[int], names: Sequence[str], tokens: int, launches: int) -> None:
    """All rows."""
    meter, rows, facts = Meter(), [], machine()
    meter.install()
    for name, make in tiers(names).items():
        bench = Bench(make(), 1, meter)
        emit({"benchmark": "overhead_singly", "tier": name, **await singly(bench, launches)} | facts)
        await bench.close()
        for count in programs:
            bench = Bench(make(), count, meter)
            for way in WAYS:
                await bench.spent(way, STEPS)  # whatever is done once is done
                found = await bench.tokens(way, max(3, tokens // STEPS // count))
                row = {"benchmark": "overhead", "tier": name, "way": way, "programs": count, **found}
                rows.append(emit(row | facts))
            await bench.close()
    print_table(rows, COLUMNS)


@click.command(help=__doc__)
@click.option("--programs", default="1,8,32,128")
@click.option("--tiers", "names", default="native,wasm")
@click.option("--tokens", default=2000, help="To take a figure from, at the least.")
@click.option("--launches", default=50)
def main(programs: str, names: str, tokens: int, launches: int) -> None:
    """Entry point."""
    quieten()
    asyncio.run(run([int(count) for count in programs.split(",")], names.split(","), tokens, launches))


if __name__ == "__main__":
    main()
