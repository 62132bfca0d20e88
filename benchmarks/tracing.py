"""What a trace (`--trace-file`) costs: the same programs on a server that writes one and on one that does not.

    python benchmarks/tracing.py [--widths 1,32] [--rounds 7] [--steps 64]

Programs decode on the bundled model natively, in fp32 on one thread: by command `decode`, and token by token, which
makes two commands and some calls for each token. Prints JSON lines; ratios are medians over the rounds. Each server has
a process of its own, for of two in one process the first is quicker; those of a round are neighbours in time. The work
of a model varies by more than a trace costs; so the last row is of commands without a model, through a control layer
that is watched and one that is not, in turns.
"""

from __future__ import annotations

import asyncio
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import structlog
from drawing import finish
from report import emit, machine

from pie_core.application.program import Program
from pie_core.controller import Controller, Settings
from pie_core.plugins import Selection
from pie_core.registry import load_registry
from pie_core.testing.rig import make_rig
from pie_core.tracing.file import TraceFile
from pie_core.tracing.recorder import Recorder

SOURCE = """
from inferlet import any_of, get_arg, get_auto_model, max_tokens

async def main():
    how, steps = get_arg()
    model = get_auto_model()
    model.eos_tokens = ()  # so that every answer is as long
    with model.create_context() as context:
        await context.fill("The capital of France is")
        if how == "decode":
            await context.generate(stop=max_tokens(int(steps)))
        for _ in range(int(steps) * (how != "decode")):
            context.fill_tokens([(await context.next_dist()).max_index()])
"""
OPTIONS = {"dtype": "float32", "threads": "1", "pages": "2048", "embeds": "8192"}
TAKES = 3  # of a server in a round, the quickest of which counts
WAYS = ("decode", "token by token")


async def take(controller: Controller, how: str, width: int, steps: int) -> tuple[float, float]:
    """Wall and processor seconds of so many programs at once; the thread that writes counts."""
    program = Program("tracing", SOURCE, "tracing.py")
    wall, cpu = time.perf_counter(), time.process_time()
    launched = [await controller.application.launch(program, [how, str(steps)]) for _ in range(width)]
    await asyncio.gather(*map(finish, launched))
    return time.perf_counter() - wall, time.process_time() - cpu


async def measure(path: Path | None, widths: list[int], steps: int) -> list[dict[str, float]]:
    """One server's part of a round, in its own process: for each way and width, after one in vain."""
    found = []
    settings = Settings("pico", "torch", OPTIONS, tier="native", trace_file=path)
    async with Controller(settings) as controller:
        for how in WAYS:
            for width in widths:
                await take(controller, how, width, steps)
                before = 0 if path is None else path.stat().st_size
                taken = [await take(controller, how, width, steps) for _ in range(TAKES)]
                wall, cpu = map(min, zip(*taken, strict=True))
                await asyncio.sleep(0.5)  # what is left of the trace goes to the file
                written = 0 if path is None else (path.stat().st_size - before) / TAKES
                found.append({"wall": wall, "cpu": cpu, "bytes": written})
    return found


def one_server(traced: bool, widths: str, steps: int) -> list[dict[str, float]]:
    """The same, in a new process."""
    with tempfile.TemporaryDirectory() as directory:
        side = [str(Path(directory) / "trace.json")] if traced else []
        command = [sys.executable, __file__, "--widths", widths, "--steps", str(steps), "--side", *(side or ["-"])]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    answer: list[dict[str, float]] = json.loads(done.stdout)
    return answer


def bare(watched: bool, path: Path, commands: int) -> float:
    """Processor seconds that so many commands take, through a control layer; what they compute is next to nothing."""
    file = TraceFile(path, time.monotonic) if watched else None
    registry = load_registry(Selection())
    observer = None
    if file is not None:
        observer = Recorder(file.put, time.monotonic).model("fake", registry.traits.values())
    program = make_rig(embeds=256, observer=observer).open()
    embeds = [program.call("alloc_emb", 1) for _ in range(64)]
    began = time.process_time()
    for start in range(0, commands, len(embeds)):
        for number, embed in enumerate(embeds):
            program.call("embed_txt", [number], [start % 4096], embed)
        program.rig.loop.run()
    if file is not None:
        file.close()
    return time.process_time() - began


def bare_row(rounds: int, commands: int = 6400) -> dict[str, float | str]:
    """What a command costs, and how much more if it is traced."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "trace.json"
        taken = [(bare(False, path, commands), bare(True, path, commands)) for _ in range(rounds + 1)][1:]
        off, more = (statistics.median(times) for times in zip(*[(off, on - off) for off, on in taken], strict=True))
        return {
            "benchmark": "tracing",
            "how": "commands without a model",
            "rounds": rounds,
            "cpu_us_per_command_off": round(off / commands * 1e6, 1),
            "cpu_us_per_command_more": round(more / commands * 1e6, 1),
            "trace_bytes_per_command": round(path.stat().st_size / commands),
        }


@click.command(help=__doc__)
@click.option("--widths", default="1,32")
@click.option("--rounds", default=7, type=click.IntRange(1))
@click.option("--steps", default=64, type=click.IntRange(1))
@click.option("--side", help="One server's part of a round: the file of its trace, or - for none.")
def main(widths: str, rounds: int, steps: int, side: str | None) -> None:
    """Entry point."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    numbers = [int(width) for width in widths.split(",")]
    if side is not None:
        print(json.dumps(asyncio.run(measure(None if side == "-" else Path(side), numbers, steps))))
        return
    taken: dict[bool, list[list[dict[str, float]]]] = {True: [], False: []}
    for number in range(rounds):
        for traced in (True, False) if number % 2 else (False, True):
            taken[traced].append(one_server(traced, widths, steps))
    for place, (how, width) in enumerate((how, width) for how in WAYS for width in numbers):
        on, off = ([one[place] for one in taken[traced]] for traced in (True, False))
        ratios = {
            f"{what}_ratio": round(statistics.median(a[what] / b[what] for a, b in zip(on, off, strict=True)), 3)
            for what in ("wall", "cpu")
        }
        tokens = width * steps
        more_us = statistics.median(a["cpu"] - b["cpu"] for a, b in zip(on, off, strict=True)) / tokens * 1e6
        row = {"benchmark": "tracing", "how": how, "width": width, "steps": steps, "rounds": rounds} | ratios
        row |= {"cpu_us_per_token_off": round(statistics.median(one["cpu"] for one in off) / tokens * 1e6, 1)}
        row |= {"cpu_us_per_token_more": round(more_us, 1)}
        emit(row | {"trace_bytes_per_token": round(on[0]["bytes"] / tokens)} | machine())
    emit(bare_row(4 * rounds) | machine())


if __name__ == "__main__":
    main()
