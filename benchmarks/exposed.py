"""What the host of `decode` costs the device: how long that has no step to run while a decode wants one.

On a CPU the device is a clock: steps take as long as is said, one after the other, and compute nothing, so this needs
no GPU and shows the host alone: programs, control layer, handlers and plans, those of the Triton backend in the shape
of Llama 3.2 1B (32 heads, 8 key heads, 132 processors). Passes of `forward` take the host a while, as launching them.

With `--device cuda` steps are the real ones of a random model on the Triton backend, between two events of CUDA each.
What the device does between two steps, such as taking plans or running passes of `forward`, counts as idle.

"whole": one decode for all tokens, as `Context.generate` asks for it where `max_tokens` leaves no more than 256.
"streamed": `Context.stream`, which shows tokens as they come, of 170 tokens. "handed on": the same with `together`.
"together": bursts of 32, then 64, as it asks for them in longer answers, so that all programs end and join at once, and
between two bursts the device has nothing to do but wait for them. "apart": bursts of 16 to 28, of another length for
each program, so that others run while one joins.

Prints a JSON line for each width and way, then a table on the error stream.

    python benchmarks/exposed.py [--widths 1,8,32] [--step-ms 0.92,1.18,1.25] [--rounds 9] [--device cuda] [--shape 1b]
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import statistics
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import structlog
import torch
from checkpoints import make_checkpoint
from decode import LONG, PROMPT
from decode_sides import LOOPS, driven_by_inferlets
from pie_backend_torch.ahead.steps import StepsAhead
from pie_backend_torch.building import TorchKernels
from pie_backend_triton.attention import TileAttention
from pie_backend_triton.tiles import Cutting
from pie_traits_decode.steps import Decode
from report import Columns, emit, machine, print_table

from pie_core.cli.process import keep_freed_memory, spare_what_is_loaded
from pie_core.controller import Controller, Settings

COLUMNS: Columns = {
    "tokens are asked for": "how",
    "programs": "width",
    "idle, us of a step": "exposed_us",
    "busy": lambda row: f"{row['busy']:.1%}",
    "longest idle, ms": "longest_idle_ms",
    "steps": "steps",
    "a step, ms": "step_ms",
    "plans": "plans",
    "a plan, us": "plan_us",
}
LAUNCH_S = 5e-3  # of a pass of `forward`
TOKEN = 100  # that is always drawn: a letter
TOGETHER = """
    burst = 32
    while len(answer) < steps:
        most, burst = min(burst, steps - len(answer)), 2 * burst
        answer += await decode(q, pages, last, pages, last, most, answer[-1] if answer else None)
"""
APART = """
    burst = 16 + prompt[0] % 13
    while len(answer) < steps:
        most = min(burst, steps - len(answer))
        answer += await decode(q, pages, last, pages, last, most, answer[-1] if answer else None)
"""

STREAMED = """
    with model.create_context() as context:
        context.fill_tokens(prompt)
        async for piece in context.stream(stop=max_tokens(steps), together=TOGETHER):
            answer.append(piece)
"""


class Clock:
    """A device that runs steps in order. steps: when each began and ended, in seconds."""

    def __init__(self, step_s: float) -> None:
        self.step_s = step_s
        self.steps: list[tuple[float, float]] = []

    def launch(self) -> Arrival:
        began = max(time.perf_counter(), self.steps[-1][1] if self.steps else 0.0)
        self.steps.append((began, began + self.step_s))
        return Arrival(began + self.step_s)


@dataclass
class Arrival:
    """As a CUDA event."""

    at: float

    def synchronize(self) -> None:
        time.sleep(max(0.0, self.at - time.perf_counter()))

    def query(self) -> bool:
        return self.at <= time.perf_counter()

    def elapsed_time(self, later: Arrival) -> float:
        return (later.at - self.at) * 1e3


class WatchedSteps(StepsAhead, ABC):
    """Notes how long the host takes to plan."""

    def __init__(self, backend: Any) -> None:
        super().__init__(backend)
        self.plans_s: list[float] = []

    def _plan(self, going: Sequence[Any]) -> None:
        began = time.perf_counter()
        super()._plan(going)
        self.plans_s.append(time.perf_counter() - began)

    def begin(self) -> None:
        """Forget what was noted."""
        self.plans_s.clear()

    @abstractmethod
    def steps_s(self) -> list[tuple[float, float]]:
        """When each step began and ended on the device."""


class ClockedSteps(WatchedSteps):
    """Whose tokens arrive when the clock says so."""

    def __init__(self, backend: Any, clock: Clock) -> None:
        super().__init__(backend)
        self.clock = clock

    def _launch(self, going: Sequence[Any]) -> None:
        super()._launch(going)
        self._flights[-1].arrived = self.clock.launch()

    def begin(self) -> None:
        super().begin()
        self.clock.steps.clear()

    def steps_s(self) -> list[tuple[float, float]]:
        return self.clock.steps


class TimedSteps(WatchedSteps):
    """On a GPU, each between two events."""

    def __init__(self, backend: Any) -> None:
        super().__init__(backend)
        self._events: list[Any] = []

    def _with_plan(self, going: Sequence[Any]) -> Sequence[Any]:
        going = super()._with_plan(going)
        self._note()
        return going

    def _launch(self, going: Sequence[Any]) -> None:
        super()._launch(going)
        self._note()

    def _note(self) -> None:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self._events.append(event)

    def begin(self) -> None:
        super().begin()
        self._events.clear()

    def steps_s(self) -> list[tuple[float, float]]:
        torch.cuda.synchronize()
        times = [self._events[0].elapsed_time(event) / 1e3 for event in self._events]
        return list(zip(times[::2], times[1::2], strict=True))


class Nothing:
    """A decoder that computes nothing. `hidden` of a pass of `forward` takes the host `LAUNCH_S`."""

    max_position, hidden_size, device = 4096, 8, torch.device("cpu")

    def __init__(self, vocabulary: int) -> None:
        attention = TileAttention(Cutting(group=4, kv_heads=8, page_size=16, programs=264))
        self.kernels = SimpleNamespace(attention=attention, top=TorchKernels().top, best=TorchKernels().best)
        self.vocab_size = vocabulary

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(ids), self.hidden_size)

    def hidden(self, x: torch.Tensor, step: Any, pool: Any) -> torch.Tensor:
        until = time.perf_counter() + (LAUNCH_S if step.extra else 0.0)
        while time.perf_counter() < until:
            pass
        return x

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        scores = torch.zeros(len(hidden), self.vocab_size)
        scores[:, TOKEN] = 1.0
        return scores


@click.command(help=__doc__)
@click.option("--widths", default="1,8,32")
@click.option("--step-ms", default="0.92,1.18,1.25", help="Of a step at each width, of the clock.")
@click.option("--rounds", default=9)
@click.option("--device", default="cpu")
@click.option("--shape", default="1b", help="Of the random model on a GPU.")
def main(widths: str, step_ms: str, rounds: int, device: str, shape: str) -> None:
    """Entry point."""
    keep_freed_memory()  # this and what is spared below, as `pie-core serve` does
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    torch.set_num_threads(1)
    LOOPS.update(together=TOGETHER, apart=APART)
    LOOPS["streamed"], LOOPS["handed on"] = (STREAMED.replace("TOGETHER", which) for which in ("False", "True"))
    with tempfile.TemporaryDirectory() as directory, asyncio.Runner() as runner:
        options = {"device": device, "threads": "1", "pages": "8192", "page_size": "16"}
        if device == "cpu":
            model, backend_name, options["dtype"] = "pico", "torch", "float32"
        else:
            path = make_checkpoint(shape, Path(directory) / shape, device)
            model, backend_name, options["dtype"] = str(path), "triton", "bfloat16"
        controller = Controller(Settings(model, backend_name, options, tier="native"))
        runner.run(controller.__aenter__())
        loaded: Any = next(iter(controller.models.values()))
        backend, decodes = loaded.backend, loaded.realization.routes[Decode].__self__
        if device == "cpu":
            backend.decoder = Nothing(backend.info.vocab_size)
            backend.embeds = torch.zeros(16384, Nothing.hidden_size)
        spare_what_is_loaded()
        facts = {"device": device} | ({} if device == "cpu" else {"shape": shape}) | machine(device)
        rows = []
        for width, ms in zip(map(int, widths.split(",")), map(float, step_ms.split(",")), strict=True):
            steps = ClockedSteps(backend, Clock(ms / 1e3)) if device == "cpu" else TimedSteps(backend)
            decodes.own_steps = steps
            for how, loop, tokens in (
                ("whole", "inferlets, decode", LONG),
                ("together", "together", LONG),
                ("apart", "apart", 170),
                ("streamed", "streamed", 170),
                ("handed on", "handed on", 170),
            ):
                generate = driven_by_inferlets(controller.application, runner.get_loop(), loop)
                draw = random.Random(width)
                prompts = [[draw.randrange(5, 250) for _ in range(PROMPT)] for _ in range(width)]
                found = measured(steps, generate, prompts, tokens, rounds)
                rows.append(emit({"benchmark": "exposed", "how": how, "width": width} | found | facts))
        print_table(rows, COLUMNS)
        runner.run(controller.close())


def measured(steps: WatchedSteps, generate: Any, prompts: list[list[int]], tokens: int, rounds: int) -> dict[str, Any]:
    """Medians over the rounds, behind two that are not counted. Of each, all between its first and its last step."""
    rows = []
    for _ in range(rounds + 2):
        steps.begin()
        gc.collect()
        generate(prompts, tokens)
        times = steps.steps_s()
        idle = [began - ended for (_, ended), (began, _) in pairwise(times)]
        wall = times[-1][1] - times[0][1]
        rows.append(
            {
                "exposed_us": round(sum(idle) / len(idle) * 1e6, 1),
                "busy": round(1 - sum(idle) / wall, 4),
                "longest_idle_ms": round(max(idle) * 1e3, 2),
                "steps": len(times),
                "step_ms": round(statistics.median(ended - began for began, ended in times) * 1e3, 4),
                "wall_ms": round(wall * 1e3, 1),
                "plans": len(steps.plans_s),
                "plan_us": round(statistics.median(steps.plans_s) * 1e6),
            }
        )
    return {name: statistics.median(row[name] for row in rows[2:]) for name in rows[0]} | {"rounds": rounds}


if __name__ == "__main__":
    main()
