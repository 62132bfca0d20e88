"""A whole decode step on each set of kernels, with random weights, in one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from math import prod
from typing import Any

import torch
from pie_backend_torch.adapters import Adapters
from pie_backend_torch.building import KvPool, LeanConfig, Span, Step, build_step
from pie_backend_torch.lean import LeanDecoder, expected_tensors
from pie_backend_torch.rotary import RopeConfig
from pie_backend_torch.torch_kernels import torch_recipe
from pie_backend_triton.kernels import make_kernels

from kernel_parts.attending import calls_of, set_positions
from kernel_parts.shapes import PAGE, Run, Shape
from kernel_parts.timing import host_us_of, us_of

KINDS = ("triton", "torch")
SETTINGS = (  # calls, context, and tokens of their own behind it, where they share it
    *((calls, 1024, -1) for calls in (1, 8, 32, 128)),
    *((64, context, 32) for context in (1024, 2048, 4096, 8192, 16384)),
)


def step(run: Run, shape: Shape) -> Iterator[dict[str, Any]]:
    """A decode step of a whole model with random weights, scores and the most probable token included."""
    kinds = ("triton", "torch", "flashinfer") if run.device.type == "cuda" and find_spec("flashinfer") else KINDS
    for kind in kinds:
        model = Model(run, shape, kind)
        for branches, context, own in run.pick(SETTINGS, ((2, 32, -1), (3, 32, 5))):
            if kind == "torch" and branches * context > 1 << 16:
                continue  # it takes long: it reads a shared prefix once for each branch, and gathers what it reads
            yield {"kernel": "step", "backend": kind, "calls": branches, "context": context, "own": own} | model.step(
                branches, context, own
            )
        del model


class Model:
    """A Llama of a shape, on Triton's kernels or torch's, those with torch's attention or FlashInfer's."""

    def __init__(self, run: Run, shape: Shape, kind: str) -> None:
        rope = RopeConfig({"rope_type": "default", "rope_theta": 5e5}, shape.width, shape.hidden, shape.heads, 131072)
        self.config = LeanConfig(
            vocab_size=shape.vocab,
            hidden_size=shape.hidden,
            intermediate_size=shape.inner,
            layers=shape.layers,
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_width=shape.width,
            norm_eps=1e-5,
            max_position=131072,
            tied_head=shape.tied,
            qkv_bias=False,
            output_bias=False,
            mlp_bias=False,
            head_norms=False,
            windows=(None,) * shape.layers,
            rope=rope,
        )
        expected = expected_tensors(self.config)
        make = make_kernels if kind == "triton" else torch_recipe("sdpa" if kind == "torch" else kind).kernels
        kernels = make(self.config, run.dtype, run.device, PAGE)
        adapters = Adapters([], run.dtype, run.device)
        self._decoder = LeanDecoder(
            self.config, lambda name: run.normal(*expected[name], scale=0.02), run.dtype, run.device, adapters, kernels
        )
        self._run, self._shape = run, shape

    def nbytes(self, branches: int, context: int, own: int) -> int:
        """Of a step, that have to be read: each weight once, and what it looks at, what branches share once."""
        expected = expected_tensors(self.config)
        if not self.config.tied_head:
            expected = {name: shape for name, shape in expected.items() if "embed_tokens" not in name}
        numbers = sum(map(prod, expected.values()))
        numbers += self.config.layers * self._shape.kv_numbers(branches, context, 1, own)
        return numbers * self._run.dtype.itemsize

    def step(self, branches: int, context: int, own: int) -> dict[str, Any]:
        """Microseconds of one new token for each branch; `host_us` launched from the host, kernel after kernel.

        `served_us` is the same planned anew each time, as a server does it that captures nothing.
        """
        run, decoder = self._run, self._decoder
        spans, pool, forward = self._step(branches, context, own)
        plan = host_us_of(lambda: build_step(decoder.kernels.attention, spans, PAGE, run.device), run.device, 3)

        def served() -> torch.Tensor:
            fresh = build_step(decoder.kernels.attention, spans, PAGE, run.device)
            fresh.place(pool)
            return forward(fresh)

        step = self._placed(spans, pool)
        us = us_of([partial(forward, step)], run.device)
        return {
            "us": round(us, 1),
            "host_us": round(host_us_of(partial(forward, step), run.device, 3), 1),
            "served_us": round(host_us_of(served, run.device, 10), 1),
            "plan_us": round(plan, 1),
            "tokens_per_s": round(branches / us * 1e6),
            "roof": run.roof(self.nbytes(branches, context, own), us),
        }

    def step_us(self, branches: int, context: int, own: int) -> float:
        """Microseconds of one new token for each branch, in a CUDA graph."""
        spans, pool, forward = self._step(branches, context, own)
        return us_of([partial(forward, self._placed(spans, pool))], self._run.device)

    def _placed(self, spans: Sequence[Span], pool: KvPool) -> Step:
        step = build_step(self._decoder.kernels.attention, spans, PAGE, self._run.device)
        step.place(pool)
        return step

    def _step(
        self, branches: int, context: int, own: int
    ) -> tuple[Sequence[Span], KvPool, Callable[[Step], torch.Tensor]]:
        run, decoder = self._run, self._decoder
        spans, pages = calls_of(context, 1, branches, own)
        pool = KvPool(decoder.layers, pages, PAGE, run.dtype, run.device)
        for tensor in (*pool.keys, *pool.values):
            tensor.normal_()
        set_positions(pool, spans)
        ids = torch.zeros(branches, dtype=torch.int64, device=run.device)

        def forward(step: Step) -> torch.Tensor:
            return decoder.kernels.best(decoder.logits(decoder.hidden(decoder.embed(ids), step, pool)))

        return spans, pool, forward
