"""What the host of `decode` costs a device that is a clock: programs, control layer, handlers and plans as on a GPU.

Steps take as long as is said, one after the other, and compute nothing, so this needs no GPU and shows the host alone:
how long the device has no step to run while a decode wants one. Plans are those of the Triton backend in the shape of
Llama 3.2 1B (32 heads, 8 key heads, 132 processors). Passes of `forward` take the host a while, as launching them does.

"whole": one decode for all tokens, as `Context.generate` asks for it where `max_tokens` leaves no more than 128.
"streamed": `Context.stream`, which shows tokens as they come, of 170 tokens.
"together": bursts of 32, then 64, as it asks for them in longer answers, so that all programs end and join at once, and
between two bursts the device has nothing to do but wait for them. "apart": bursts of 16 to 28, of another length for
each program, so that others run while one joins.

    python benchmarks/exposed.py [--widths 1,8,32] [--step-ms 0.92,1.18,1.25] [--rounds 9]
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import click
import structlog
import torch
from decode import LONG, LOOPS, PROMPT, driven_by_inferlets
from pie_backend_torch.ahead.steps import StepsAhead
from pie_backend_torch.building import TorchKernels
from pie_backend_triton.attention import TileAttention
from pie_backend_triton.tiles import Cutting
from pie_traits_decode.steps import Decode
from report import emit, machine

from pie_core.controller import Controller, Settings

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
        async for piece in context.stream(stop=max_tokens(steps)):
            answer.append(piece)
"""


@dataclass
class Clock:
    """A device that runs steps in order. idle_s: of each launch, how long it had nothing to do before."""

    step_s: float
    free_at: float = 0.0
    idle_s: list[float] = field(default_factory=list)

    def launch(self) -> Arrival:
        now = time.perf_counter()
        self.idle_s.append(max(0.0, now - self.free_at))
        self.free_at = max(now, self.free_at) + self.step_s
        return Arrival(self.free_at)


@dataclass
class Arrival:
    """As a CUDA event."""

    at: float

    def synchronize(self) -> None:
        time.sleep(max(0.0, self.at - time.perf_counter()))


class ClockedSteps(StepsAhead):
    """Whose tokens arrive when the clock says so."""

    def __init__(self, backend: Any, clock: Clock) -> None:
        super().__init__(backend)
        self.clock = clock
        self.plans_s: list[float] = []

    def _plan(self, going: Sequence[Any]) -> None:
        began = time.perf_counter()
        super()._plan(going)
        self.plans_s.append(time.perf_counter() - began)

    def _launch(self, going: Sequence[Any]) -> None:
        super()._launch(going)
        self._flights[-1].arrived = self.clock.launch()


class Nothing:
    """A decoder that computes nothing. `hidden` of a pass of `forward` takes the host `LAUNCH_S`."""

    max_position, hidden_size, device = 4096, 8, torch.device("cpu")

    def __init__(self, vocabulary: int) -> None:
        attention = TileAttention(Cutting(group=4, kv_heads=8, page_size=16, programs=264))
        self.kernels = SimpleNamespace(attention=attention, top=TorchKernels().top, best=TorchKernels().best)
        self._vocabulary = vocabulary

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(ids), self.hidden_size)

    def hidden(self, x: torch.Tensor, step: Any, pool: Any) -> torch.Tensor:
        until = time.perf_counter() + (LAUNCH_S if step.extra else 0.0)
        while time.perf_counter() < until:
            pass
        return x

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        scores = torch.zeros(len(hidden), self._vocabulary)
        scores[:, TOKEN] = 1.0
        return scores


@click.command(help=__doc__)
@click.option("--widths", default="1,8,32")
@click.option("--step-ms", default="0.92,1.18,1.25", help="Of a step at each width.")
@click.option("--rounds", default=9)
def main(widths: str, step_ms: str, rounds: int) -> None:
    """Entry point."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    torch.set_num_threads(1)
    LOOPS.update(together=TOGETHER, apart=APART, streamed=STREAMED)
    with asyncio.Runner() as runner:
        options = {"dtype": "float32", "device": "cpu", "threads": "1", "pages": "8192", "page_size": "16"}
        controller = Controller(Settings("pico", "torch", options, tier="native"))
        runner.run(controller.__aenter__())
        loaded: Any = next(iter(controller.models.values()))
        backend, decodes = loaded.backend, loaded.realization.routes[Decode].__self__
        backend.decoder = Nothing(backend.info.vocab_size)
        backend.embeds = torch.zeros(16384, Nothing.hidden_size)
        facts = machine("cpu")
        for width, ms in zip(map(int, widths.split(",")), map(float, step_ms.split(",")), strict=True):
            decodes._ahead = steps = ClockedSteps(backend, Clock(ms / 1e3))
            for how, loop, tokens in (
                ("whole", "inferlets, decode", LONG),
                ("together", "together", LONG),
                ("apart", "apart", 170),
                ("streamed", "streamed", 170),
            ):
                generate = driven_by_inferlets(controller.application, runner.get_loop(), loop)
                draw = random.Random(width)
                prompts = [[draw.randrange(5, 250) for _ in range(PROMPT)] for _ in range(width)]
                emit(
                    {"benchmark": "exposed", "how": how, "width": width}
                    | measured(steps, generate, prompts, tokens, rounds)
                    | facts
                )
        runner.run(controller.close())


def measured(steps: ClockedSteps, generate: Any, prompts: list[list[int]], tokens: int, rounds: int) -> dict[str, Any]:
    """Medians over the rounds, behind one that is not counted. Of each, all between its first and its last step."""
    rows = []
    for _ in range(rounds + 1):
        steps.clock.idle_s.clear()
        steps.plans_s.clear()
        gc.collect()
        generate(prompts, tokens)
        idle = steps.clock.idle_s[1:]
        busy_s = len(idle) * steps.clock.step_s
        rows.append(
            {
                "exposed_us": round(sum(idle) / len(idle) * 1e6, 1),
                "busy": round(busy_s / (busy_s + sum(idle)), 4),
                "longest_idle_ms": round(max(idle) * 1e3, 2),
                "steps": len(idle) + 1,
                "wall_ms": round((busy_s + sum(idle)) * 1e3, 1),
                "plans": len(steps.plans_s),
                "plan_us": round(statistics.median(steps.plans_s) * 1e6),
            }
        )
    return {name: statistics.median(row[name] for row in rows[1:]) for name in rows[0]} | {
        "step_ms": steps.clock.step_s * 1e3,
        "rounds": rounds,
    }


if __name__ == "__main__":
    main()
