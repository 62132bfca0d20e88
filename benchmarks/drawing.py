"""What it saves that the server draws tokens (trait `decode`): the same programs with the trait and without, in turns.

    python benchmarks/drawing.py [--widths 1,8,32] [--rounds 5] [--steps 48]

Programs call `Context.generate` on the bundled model, greedily, in fp32 on one thread. Prints JSON lines; ratios are
medians over the rounds, each round's two sides being neighbours in time. It matters which of two servers in a process
was started first, so there is a row for either order.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from contextlib import AsyncExitStack

import click
import structlog
from programs import next_event
from report import emit, machine

from pie_core.application.events import Ended
from pie_core.application.inferlet import Inferlet
from pie_core.application.program import Program
from pie_core.controller import Controller, Settings, TierName
from pie_core.plugins import Selection

SOURCE = """
from inferlet import get_arg, get_auto_model, max_tokens

async def main():
    model = get_auto_model()
    model.eos_tokens = ()  # so that every answer is as long
    with model.create_context() as context:
        await context.fill("The capital of France is")
        return await context.generate(stop=max_tokens(int(get_arg()[0])))
"""
OPTIONS = {"dtype": "float32", "threads": "1", "pages": "2048", "embeds": "8192"}
SERVER = "drawn by the server"
SIDES = {SERVER: Selection(), "drawn by the program": Selection(without=frozenset({"traits.decode"}))}
TIERS: tuple[TierName, ...] = ("native", "wasm")


async def finish(inferlet: Inferlet) -> str | None:
    """Its answer."""
    while True:
        event = await next_event(inferlet)
        if isinstance(event, Ended):
            assert event.status == "finished", event.error
            return event.value


async def take(controller: Controller, width: int, steps: int) -> tuple[float, float, set[str | None]]:
    """Wall and processor seconds of so many programs at once, and their answers."""
    program = Program("drawing", SOURCE, "drawing.py")
    wall, cpu = time.perf_counter(), time.process_time()
    launched = [await controller.application.launch(program, [str(steps)]) for _ in range(width)]
    answers = set(await asyncio.gather(*map(finish, launched)))
    return time.perf_counter() - wall, time.process_time() - cpu, answers


async def compare(tier: TierName, names: list[str], widths: list[int], rounds: int, steps: int) -> None:
    """A row for each width; the servers are started in the order of `names`."""
    async with AsyncExitStack() as stack:
        controllers = {}
        for name in names:
            settings = Settings("pico", "torch", OPTIONS, selection=SIDES[name], tier=tier)
            controllers[name] = await stack.enter_async_context(Controller(settings))
            (model,) = controllers[name].models.values()
            assert ("decode" in model.traits) == (name == SERVER), "trait decode is not installed"
        for width in widths:
            taken: dict[str, list[tuple[float, float, set[str | None]]]] = {name: [] for name in names}
            for number in range(rounds + 1):
                for name in names if number % 2 else reversed(names):
                    taken[name].append(await take(controllers[name], width, steps))
            ours, theirs = (taken[name][1:] for name in SIDES)
            assert ours[0][2] == theirs[0][2], "the two sides give different texts"
            walls, cpus = ([a[of] / b[of] for a, b in zip(ours, theirs, strict=True)] for of in (0, 1))
            row = {"benchmark": "drawing", "tier": tier, "first": names[0], "width": width, "steps": steps}
            for name in SIDES:
                row[name.replace(" ", "_") + "_ms"] = round(
                    statistics.median(one[0] for one in taken[name][1:]) * 1e3, 2
                )
            ratios = {"wall_ratio": statistics.median(walls), "cpu_ratio": statistics.median(cpus), "rounds": rounds}
            emit(row | {name: round(ratio, 3) for name, ratio in ratios.items()} | machine())


@click.command(help=__doc__)
@click.option("--widths", default="1,8,32")
@click.option("--rounds", default=5, type=click.IntRange(1))
@click.option("--steps", default=48, type=click.IntRange(1))
def main(widths: str, rounds: int, steps: int) -> None:
    """Entry point."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    for tier in TIERS:
        for names in (list(SIDES), list(reversed(SIDES))):
            asyncio.run(compare(tier, names, [int(width) for width in widths.split(",")], rounds, steps))


if __name__ == "__main__":
    main()
