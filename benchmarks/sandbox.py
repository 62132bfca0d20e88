"""What the sandbox costs: calls, decode steps, launches and memory, for 1, 128 and 896 Python programs at once.

    python benchmarks/sandbox.py [--guests 1,128,896] [--steps 20]

The backend does nothing (its handlers answer at once), so that what is measured is guests, control layer and event
loop. Both tiers run the same source, interleaved. Prints JSON lines; times are of this process, on its event loop.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import statistics
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import structlog
from pie_traits_text.output_text import Dist
from report import emit, machine

from pie_core.application.application import Application
from pie_core.application.events import Ended, Message
from pie_core.application.inferlet import Inferlet
from pie_core.application.native import NativeTier
from pie_core.application.program import Program
from pie_core.application.tier import Tier
from pie_core.application.wasm.tier import WasmTier
from pie_core.inference.backend import HandlerSpec
from pie_core.loaded import LoadedModel
from pie_core.testing import FakeBackend, fake_handlers, fake_model

PROLOGUE = """
import asyncio, time
from inferlet import *

async def main():
    model, steps = get_auto_model(), int(get_arg()[0])
    q = model.create_queue()
    pages, emb = alloc_kvpage(q, 2), alloc_emb(q, 1)
"""
CALLS = """
    started = time.perf_counter()
    for _ in range(2000):
        get_version()
    return str((time.perf_counter() - started) / 2000)
"""
DECODE = """
    embed_txt(q, 1, 0, emb)
    forward(q, pages, emb, pages, emb)
    send("forward")
    await receive()
    for step in range(steps):
        token = (await get_next_dist(q, emb, 1)).max_index()
        embed_txt(q, token, step + 1, emb)
        forward(q, pages, emb, pages, emb)
"""
GATHERED = """
    async def branch(place):
        mine, own = model.create_queue(), alloc_emb(q, 1)
        table = alloc_kvpage(q, 2)
        for step in range(steps):
            embed_txt(mine, 1, step, own)
            forward(mine, table, own, table, own)
            await get_next_dist(mine, own, 1)
    send("there")
    await receive()
    await asyncio.gather(*(branch(place) for place in range(4)))
"""


class Idle:
    """Handlers that do nothing."""

    def __init__(self, backend: Any) -> None:
        self._dist = Dist(array("I", [1]), array("f", [1.0]), 0.0)

    def forward(self, batch: Sequence[Any]) -> None:
        """Leave the pages as they are."""

    def embed_txt(self, batch: Sequence[Any]) -> None:
        """Leave the Embeds as they are."""

    def get_next_dist(self, batch: Sequence[Any]) -> list[Dist]:
        """Always the same."""
        return [self._dist] * len(batch)


def idle_model(guests: int) -> LoadedModel:
    """A model whose commands cost nothing; room for all guests."""
    replaced = ("forward", "input_text", "output_text")
    handlers = [HandlerSpec(spec.trait, Idle) if spec.trait in replaced else spec for spec in fake_handlers()]
    return fake_model(FakeBackend(pages=guests * 12, embeds=guests * 6, page_size=32), handlers=handlers)


def private_kib() -> int:
    """Memory of this process that it shares with nobody."""
    rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in rollup if line.startswith("Private_Dirty"))


async def next_event(inferlet: Inferlet) -> Any:
    """The next thing that the client would see."""
    ticket, arrived = inferlet.events.get(), asyncio.Event()
    ticket.watch(lambda _: arrived.set())
    await arrived.wait()
    return ticket.result()


async def finish(inferlet: Inferlet) -> Ended:
    """Read to the end."""
    while True:
        event = await next_event(inferlet)
        if isinstance(event, Ended):
            assert event.status == "finished", event.error
            return event


async def measure(tier: Tier, guests: int, steps: int) -> dict[str, Any]:
    """One row."""
    model = idle_model(guests)
    application = Application({model.info.name: model}, tier)
    await application.warm_up()
    calls = await finish(await application.launch(Program("calls", PROLOGUE + CALLS, "calls.py"), ["0"]))
    decode = Program("decode", PROLOGUE + DECODE, "decode.py")
    gc.collect()
    before, started = private_kib(), time.perf_counter()

    async def begin() -> tuple[Inferlet, float]:
        launched = time.perf_counter()
        inferlet = await application.launch(decode, [str(steps)])
        assert isinstance(await next_event(inferlet), Message)
        return inferlet, time.perf_counter() - launched

    begun = await asyncio.gather(*(begin() for _ in range(guests)))
    launch_s = time.perf_counter() - started
    memory = private_kib() - before
    wall, cpu = time.perf_counter(), time.process_time()
    for inferlet, _ in begun:
        inferlet.deliver("go")
    await asyncio.gather(*(finish(inferlet) for inferlet, _ in begun))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    gathered = Program("gathered", PROLOGUE + GATHERED, "gathered.py")
    counters = model.layer.statistics.calls
    four = [await application.launch(gathered, [str(steps)]) for _ in range(guests)]
    for inferlet in four:
        await next_event(inferlet)
    at = counters["forward"].commands, counters["forward"].batches
    for inferlet in four:
        inferlet.deliver("go")
    await asyncio.gather(*map(finish, four))
    batches = counters["forward"].batches - at[1]
    await application.shut_down("done")
    model.close()
    return {
        "benchmark": "sandbox",
        "tier": tier.name,
        "guests": guests,
        "call_us": round(float(calls.value or "nan") * 1e6, 2),
        "first_forward_ms": round(statistics.median(seconds for _, seconds in begun) * 1e3, 2),
        "launch_ms_each": round(launch_s / guests * 1e3, 2),
        "step_us": round(wall / guests / steps * 1e6, 1),
        "step_cpu_us": round(cpu / guests / steps * 1e6, 1),
        "kib_per_guest": round(memory / guests, 1),
        "gathered_mean_batch": round((counters["forward"].commands - at[0]) / batches, 1),
    }


@click.command(help=__doc__)
@click.option("--guests", default="1,128,896")
@click.option("--steps", default=20)
def main(guests: str, steps: int) -> None:
    """Entry point."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))

    async def run() -> None:
        for count in map(int, guests.split(",")):
            for name in ("native", "wasm"):
                model = idle_model(1)
                tier: Tier = NativeTier() if name == "native" else WasmTier(model.known_traits)
                model.close()
                emit(await measure(tier, count, steps) | {"steps": steps} | machine())

    asyncio.run(run())


if __name__ == "__main__":
    main()
