"""Compiles what the backend launches, for a GPU that need not be there; run by `test_compile.py`, without interpreter.

    python compiling.py 90

Models are run over tensors that hold nothing (torch's `meta` device) by the code that runs them on a GPU, and what they
launch is compiled instead. So no list of kernels, types and constants is kept here that might be another than theirs.
Prints a line of JSON for each kernel: its name, what it was made for, and bytes of shared memory. ptxas comes with
Triton's wheel.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pie_backend_torch.adapters import Adapters
from pie_backend_torch.ahead.changes import Changes
from pie_backend_torch.building import How, KvPool, LeanConfig, Span, build_step
from pie_backend_torch.lean import LeanDecoder, expected_tensors
from pie_backend_torch.rotary import RopeConfig
from pie_backend_triton.kernels import TritonKernels, cutting_of
from pie_backend_triton.tiles import Cutting
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

NOWHERE = torch.device("meta")
PROCESSORS = {80: 108, 90: 132}  # of an A100, and of an H100
NAMED = ("WIDTH", "PAGE", "HEIGHT", "MASKED", "WINDOWED", "NEAR")  # constants that tell what a kernel is for
_run = JITFunction.run


class Compiler:
    """The driver of a GPU, as far as Triton asks for it to compile; what is launched comes here."""

    def __init__(self, capability: int) -> None:
        self._target = GPUTarget("cuda", capability, 32)
        self.made: dict[str, dict[str, Any]] = {}

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def launch(self, kernel: Any, *given: Any, grid: Any, warmup: bool, **named: Any) -> None:
        if "FOLLOWS" in kernel.arg_names and self._target.arch >= 90:  # see `following`
            named |= {"FOLLOWS": True, "launch_pdl": True}
        made = _run(kernel, *given, grid=grid, warmup=True, **named)
        dtype = next(str(one.dtype) for one in given if isinstance(one, torch.Tensor))
        facts = {name: named[name] for name in NAMED if name in named}
        self.made[made.hash] = {"kernel": kernel.__name__, "dtype": dtype, "shared": made.metadata.shared} | facts


@dataclass(frozen=True)
class Model:
    """Of one layer. tokens, masked: how many each call has that attends to what is before, or under an explicit mask.

    There are four query heads for a key head, so that 2, 16 and 40 tokens make tiles of every height.
    """

    dtype: torch.dtype
    width: int
    page_size: int
    tokens: tuple[int, ...] = (2, 16, 40)
    masked: tuple[int, ...] = ()
    hidden: int = 2048
    biased: bool = False
    window: int | None = None
    far: bool = False  # in a pool of more than 2^31 numbers

    @property
    def config(self) -> LeanConfig:
        return LeanConfig(
            vocab_size=128256,
            hidden_size=self.hidden,
            intermediate_size=4 * self.hidden,
            layers=1,
            heads=32,
            kv_heads=8,
            head_width=self.width,
            norm_eps=1e-5,
            max_position=4096,
            tied_head=True,
            qkv_bias=self.biased,
            output_bias=self.biased,
            mlp_bias=self.biased,
            head_norms=self.width == 128,
            windows=(self.window,),
            rope=RopeConfig({"rope_type": "default", "rope_theta": 1e4}, self.width, self.hidden, 32, 4096),
        )

    def cutting(self, capability: int) -> Cutting:
        return cutting_of(self.config, self.dtype, self.page_size, PROCESSORS[capability])


EXACT = Model(torch.float32, 64, 16, tokens=(2,), hidden=1024)
MODELS = {  # by capability; what takes seconds on both is compiled for one
    90: (
        Model(torch.bfloat16, 64, 16, masked=(2, 40)),
        Model(torch.float16, 128, 32, masked=(2, 16), hidden=1024, window=1000, far=True),
        EXACT,
    ),
    80: (
        Model(torch.float16, 64, 16, masked=(16,), far=True),
        Model(torch.bfloat16, 96, 8, masked=(2, 16), hidden=1024, window=1000, biased=True),
    ),
}


def run(model: Model, capability: int) -> None:
    """Passes of every kind, and all that is done to scores."""
    config, kernels = model.config, TritonKernels(model.cutting(capability))
    shapes = expected_tensors(config)

    def read(name: str) -> torch.Tensor:
        return torch.empty(shapes[name], dtype=model.dtype, device=NOWHERE)

    decoder = LeanDecoder(config, read, model.dtype, NOWHERE, Adapters([], model.dtype, NOWHERE), kernels)
    numbers = model.page_size * config.kv_heads * model.width
    pool = KvPool(decoder.layers, (1 << 31) // numbers if model.far else 1000, model.page_size, model.dtype, NOWHERE)
    whole = (1 << model.page_size) - 1
    context = list(range(50))

    def call(tokens: int, masked: bool) -> Span:
        start = model.page_size * len(context)
        mask = np.ones((tokens, start + tokens), dtype=bool) if masked else None
        return Span(context, [whole] * len(context), range(start, start + tokens), range(start, start + tokens), mask)

    several = [call(tokens, False) for tokens in model.tokens] + [call(tokens, True) for tokens in model.masked]
    for spans in (several, [call(1, False)]):
        step = build_step(kernels.attention, spans, model.page_size, NOWHERE)
        step.place(pool)
        ids = torch.empty(step.count, dtype=torch.int64, device=NOWHERE)
        hidden = decoder.hidden(decoder.embed(ids), step, pool)
    logits = decoder.logits(hidden)
    settings = torch.empty(8, 1, dtype=torch.float64, device=NOWHERE)
    changes = Changes(torch.empty_like(logits), torch.empty_like(logits, dtype=torch.int32), *settings[6:])
    kernels.best(logits)
    for what in (None, changes):
        kernels.draw(logits, How(*settings[:3], *settings[3:6].long(), what))


def main() -> None:
    capability = int(sys.argv[1])
    compiler = Compiler(capability)
    driver.set_active(compiler)
    JITFunction.run = lambda kernel, *given, **named: compiler.launch(kernel, *given, **named)
    with torch.inference_mode():
        for model in MODELS[capability]:
            run(model, capability)
    for facts in compiler.made.values():
        print(json.dumps(facts))


if __name__ == "__main__":
    main()
