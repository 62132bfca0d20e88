"""What the sandbox costs: calls, forwards, decode steps, launches and memory, for 1, 128 and 896 programs at once.

    python benchmarks/sandbox.py [--guests 1,128,896] [--steps 20] [--cold / --no-cold]

The backend does nothing (its handlers answer at once), so that what is measured is guests, control layer and event
loop. One program in four forms: Python source, trusted and in the sandbox; as a component made of it; in C. They run
interleaved. Prints JSON lines; times are of this process, on its event loop. `cold` rows: the first launch there is,
with an empty cache.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import statistics
import tempfile
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import structlog
from pie_traits_text.output_text import Dist
from programs import BuildError, c_component, next_event, python_component, python_source
from report import emit, machine

from pie_core.application.application import Application
from pie_core.application.events import Ended, Message
from pie_core.application.inferlet import Inferlet
from pie_core.application.native import NativeTier
from pie_core.application.program import Program
from pie_core.application.tier import Tier
from pie_core.application.wasm import ffi
from pie_core.application.wasm.cache import ComponentCache
from pie_core.application.wasm.prebuilt import find_prebuilt
from pie_core.application.wasm.tier import WasmTier
from pie_core.loaded import LoadedModel
from pie_core.plugins import Selection
from pie_core.testing import FakeBackend, fake_handlers, fake_model
from pie_core.testing.fake import FakeHandler

FORMS = ("native", "source", "component", "c")  # the first in the trusted tier, the others in the sandbox
CALLS = 2000  # of those that are answered at once, by each guest
LEAST = 64  # guests in all that a figure is taken from


class Idle(FakeHandler):
    """Handlers that do nothing for the commands of a decode step."""

    def __init__(self, backend: FakeBackend) -> None:
        super().__init__(backend)
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
    handlers = [replace(spec, build=Idle) for spec in fake_handlers()]
    return fake_model(FakeBackend(pages=guests * 12, embeds=guests * 6, page_size=32), handlers=handlers)


async def finish(inferlet: Inferlet) -> None:
    """Read to the end."""
    while True:
        event = await next_event(inferlet)
        if isinstance(event, Ended):
            assert event.status == "finished", event.error
            return


@dataclass
class Work:
    """Guests that did one kind of work: seconds of each until it was ready, of all to launch, then of all to work."""

    ready_s: list[float]
    launch_s: float
    wall_s: float
    cpu_s: float
    inside_s: float  # that guests computed themselves
    mean_batch: float


class GuestClock:
    """Processor time of guests themselves: while their fibers run, without that of the functions of the host."""

    def __init__(self) -> None:
        self.on = False
        self.inside_s = 0.0

    def install(self) -> None:
        """For components that are linked from now on. Costs a microsecond for each host call while it is on."""
        ffi.poll = self._timed(ffi.poll, 1)  # type: ignore[assignment]
        for kind in ("SYNC_CALLBACK", "ASYNC_CALLBACK"):
            wrap = getattr(ffi, kind)
            setattr(ffi, kind, lambda function, wrap=wrap: wrap(self._timed(function, -1)))

    def _timed(self, function: Callable[..., Any], sign: int) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            if not self.on:
                return function(*arguments)
            started = time.thread_time()
            try:
                return function(*arguments)
            finally:
                self.inside_s += sign * (time.thread_time() - started)

        return timed


class Bench:
    """One form of the program, and what runs it."""

    def __init__(self, tier: Tier, program: Program, guests: int, clock: GuestClock) -> None:
        self._clock = clock
        self._model = idle_model(guests)
        self._application = Application({self._model.info.name: self._model}, tier)
        self._program, self._guests = program, guests

    async def begin(self, kind: str, steps: int) -> tuple[Inferlet, float]:
        """Launch one and wait until it is ready."""
        launched = time.perf_counter()
        inferlet = await self._application.launch(self._program, [kind, str(steps)])
        event = await next_event(inferlet)
        assert isinstance(event, Message), event
        return inferlet, time.perf_counter() - launched

    async def work(self, kind: str, steps: int) -> Work:
        """Launch all, let them go at once, wait for the last."""
        gc.collect()
        started = time.perf_counter()
        begun = await asyncio.gather(*(self.begin(kind, steps) for _ in range(self._guests)))
        launch_s = time.perf_counter() - started
        commands, batches = self._forwards()
        wall, cpu, inside = time.perf_counter(), time.process_time(), self._clock.inside_s
        for inferlet, _ in begun:
            inferlet.deliver("go")
        await asyncio.gather(*(finish(inferlet) for inferlet, _ in begun))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        done = self._forwards()
        mean = (done[0] - commands) / max(done[1] - batches, 1)
        return Work([seconds for _, seconds in begun], launch_s, wall, cpu, self._clock.inside_s - inside, mean)

    def _forwards(self) -> tuple[int, int]:
        """How many there were, and in how many batches."""
        counter = self._model.layer.statistics.calls.get("forward")
        return (0, 0) if counter is None else (counter.commands, counter.batches)

    async def repeated(self, kind: str, steps: int) -> list[Work]:
        """`work`, often enough for a figure."""
        return [await self.work(kind, steps) for _ in range(max(1, LEAST // self._guests))]

    async def close(self) -> None:
        """Free all."""
        await self._application.shut_down("done")
        self._model.close()


def each_us(works: list[Work], count: int) -> dict[str, float]:
    """Microseconds of wall time and of processor time for each of `count` things done by each guest."""
    done = sum(len(work.ready_s) for work in works) * count
    return {
        "us": round(sum(work.wall_s for work in works) / done * 1e6, 2),
        "cpu_us": round(sum(work.cpu_s for work in works) / done * 1e6, 2),
    }


def named(prefix: str, figures: dict[str, float]) -> dict[str, float]:
    """Figures under longer names."""
    return {f"{prefix}_{name}": value for name, value in figures.items()}


async def measure(tier: Tier, program: Program, guests: int, steps: int, clock: GuestClock) -> dict[str, Any]:
    """One row."""
    bench = Bench(tier, program, guests, clock)
    await bench.work("calls", 1)  # whatever is done once is done
    calls = [await bench.work("calls", CALLS)]
    forwards, decode = await bench.repeated("forwards", steps), await bench.repeated("decode", steps)
    gathered = await bench.work("gathered", steps)
    clock.on = True
    timed = await bench.repeated("forwards", steps)
    clock.on = False
    await bench.close()
    return {
        "guests": guests,
        **named("call", each_us(calls, CALLS)),
        **named("forward", each_us(forwards, steps)),
        "forward_guest_us": round(sum(work.inside_s for work in timed) / len(timed) / guests / steps * 1e6, 2),
        **named("step", each_us(decode, steps)),
        "first_forward_ms": round(statistics.median(s for work in decode for s in work.ready_s) * 1e3, 2),
        "launch_ms_each": round(sum(work.launch_s for work in decode) / guests / len(decode) * 1e3, 2),
        "gathered_mean_batch": round(gathered.mean_batch, 1),
        "steps": steps,
    }


async def measure_cold(program: Program) -> dict[str, Any]:
    """Seconds from the first launch with an empty cache to the first forward, then those of the second launch."""
    prebuilt = find_prebuilt(Selection())
    with tempfile.TemporaryDirectory(prefix="pie-cold-") as directory:
        cache, model = ComponentCache(Path(directory, "components"), prebuilt=prebuilt), idle_model(1)
        bench = Bench(WasmTier(model.known_traits, cache), program, 1, GuestClock())
        model.close()
        (_, first), (_, second) = await bench.begin("decode", 1), await bench.begin("decode", 1)
        await bench.close()
    row: dict[str, Any] = {"first_forward_s": round(first, 3), "second_ms": round(second * 1e3, 2)}
    if program.wasm is None:
        row["prebuilt"] = any(path.is_dir() and any(path.iterdir()) for path in prebuilt)
    return row


def programs(forms: Sequence[str]) -> dict[str, Program]:
    """Those that can be built here; a row for each of the others says why not."""
    model = idle_model(1)
    traits = list(model.traits.values())  # more may be installed, and a component that imports them would be refused
    model.close()
    builders = {"component": lambda: python_component(traits), "c": c_component}
    found = {}
    for form in forms:
        try:
            found[form] = builders.get(form, python_source)()
        except BuildError as error:
            emit({"benchmark": "sandbox", "program": form, "skipped": str(error)})
    return found


async def run(counts: list[int], steps: int, forms: Sequence[str], cold: bool) -> None:
    """All rows."""
    built, clock = programs(forms), GuestClock()
    for form in built if cold else ():
        if form != "native":
            emit({"benchmark": "sandbox_cold", "program": form, **await measure_cold(built[form]), **machine()})
    clock.install()
    for count in counts:
        for form, program in built.items():
            model = idle_model(1)
            tier: Tier = NativeTier() if form == "native" else WasmTier(model.known_traits)
            model.close()
            row = await measure(tier, program, count, steps, clock)
            emit({"benchmark": "sandbox", "tier": tier.name, "program": form, **row, **machine()})


async def warm_up() -> None:
    """Have the interpreter built and compiled, and in the cache."""
    model = idle_model(1)
    async with Application({model.info.name: model}, WasmTier(model.known_traits)) as application:
        await application.warm_up()
    model.close()


def prepare() -> None:
    """`warm_up` in a process of its own: guests would be put into memory that it leaves behind, and not be counted."""
    process = multiprocessing.get_context("spawn").Process(target=_prepare)
    process.start()
    process.join()


def _prepare() -> None:
    quieten()
    asyncio.run(warm_up())


def quieten() -> None:
    """Print rows only."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


@click.command(help=__doc__)
@click.option("--guests", default="1,128,896")
@click.option(
    "--steps", default=20, type=click.IntRange(1, 60), help="Of each guest; its pages have room for 64 tokens."
)
@click.option("--forms", default=",".join(FORMS), help="Which of them.")
@click.option("--cold/--no-cold", default=True, help="Measure the first launches too.")
def main(guests: str, steps: int, forms: str, cold: bool) -> None:
    """Entry point."""
    quieten()
    chosen = forms.split(",")
    if unknown := set(chosen) - set(FORMS):
        raise click.BadParameter(f"no form is named {', '.join(sorted(unknown))}; there are {', '.join(FORMS)}")
    prepare()
    asyncio.run(run([int(count) for count in guests.split(",")], steps, chosen, cold))


if __name__ == "__main__":
    main()
