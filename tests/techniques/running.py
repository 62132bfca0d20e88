"""Programs of `inferlets/` on the bundled model in fp32: what a client sees, and what it took."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from pie_traits_decode.steps import Decode
from pie_traits_text.forward import Forward, ForwardWithAdapter
from pie_traits_text.output_text import Dist, GetNextDist

from pie_core.application.program import find_program
from pie_core.controller import Controller, Settings
from pie_core.loaded import LoadedModel
from pie_core.resource import KvPage
from pie_core.testing.run import Outcome, run_inferlet

OPTIONS = {"dtype": "float32", "pages": "512", "embeds": "4096"}


@dataclass(frozen=True)
class Cost:
    """What one run took. tokens: run through the model. steps: passes over it. forwards: what was together in them.

    The steps of `decode` are passes like those that a program asks for one by one.
    """

    tokens: int = 0
    steps: int = 0
    forwards: int = 0


@dataclass(frozen=True)
class Ran:
    """One run."""

    outcome: Outcome
    cost: Cost

    @property
    def output(self) -> str:
        """All that was printed; the program must have finished."""
        assert self.outcome.ended.status == "finished", self.outcome.ended.error
        return self.outcome.output


async def run_on(
    controller: Controller, program: str | Path, *arguments: str, pages_kept: int = 0, **given: Any
) -> Ran:
    """Run a program, by its name or its path, on a controller; afterwards nothing of it is held.

    pages_kept: how many pages are exported afterwards. given: more arguments of `run_inferlet`.
    """
    path = Path(find_program(program).filename) if isinstance(program, str) else program
    (model,) = controller.models.values()
    with _counting(model) as passes:
        outcome = await run_inferlet(path, arguments, models=controller.models, **given)
        await _freed(model, pages_kept)
    return Ran(outcome, Cost(sum(map(sum, passes)), len(passes), sum(map(len, passes))))


def run(program: str | Path, *arguments: str, pages_kept: int = 0, model: str = "pico", **given: Any) -> Ran:
    """Run one program on a controller of its own."""

    async def go() -> Ran:
        async with serving(model) as controller:
            return await run_on(controller, program, *arguments, pages_kept=pages_kept, **given)

    return asyncio.run(go())


def serving(model: str = "pico", **options: Any) -> Controller:
    """A controller for several runs: `async with serving() as controller`. options: of the torch backend."""
    return Controller(Settings(model, "torch", OPTIONS | options, tier="native"))


@dataclass(frozen=True)
class Look:
    """One distribution that a program was told. probs: [vocabulary], also of what it did not ask for."""

    probs: torch.Tensor
    pages: int  # held by programs at that moment

    @property
    def best(self) -> int:
        """The most probable token."""
        return int(self.probs.argmax())


@contextmanager
def watching(controller: Controller) -> Iterator[list[Look]]:
    """All distributions that programs are told meanwhile, or that tokens are drawn from for them, in order.

    The backend draws nothing by itself meanwhile, so that `decode` asks the handler of `output_text`.
    """
    (model,) = controller.models.values()
    routes, looks = model.realization.routes, list[Look]()
    usual = routes[GetNextDist]
    handler: Any = usual.__self__  # type: ignore[attr-defined]
    decodes: Any = routes[Decode].__self__  # type: ignore[attr-defined]
    own_steps, decodes.own_steps = decodes.own_steps, None

    def watched(batch: Sequence[GetNextDist]) -> Sequence[Any] | None:
        held = sum(space.holds(KvPage) for space in model.layer.spaces.values())
        whole = usual([GetNextDist(command.emb, None) for command in batch])
        looks.extend(Look(_by_token(dist), held) for dist in whole or ())
        return usual(batch)

    handler.get_next_dist = routes[GetNextDist] = watched
    handler.get_best = lambda batch: [int(dist.ids[0]) for dist in watched(batch) or ()]
    try:
        yield looks
    finally:
        del handler.get_next_dist, handler.get_best
        decodes.own_steps = own_steps
        routes[GetNextDist] = usual


def assert_told(looks: Sequence[Look], logits: torch.Tensor, tolerance: float = 1e-3) -> None:
    """Each look is the softmax of its row of `logits` [looks, vocabulary]: to `tolerance`, in logits.

    The default is what fp32 leaves of the least likely tokens, whose logits are far below.
    """
    told = torch.stack([look.probs for look in looks]).double().log()
    wanted = logits.double().log_softmax(-1)
    sure = wanted > -80.0  # below, fp32 has no such probability
    error = (told - wanted)[sure].abs().max()
    assert error < tolerance, f"off by {error:.2e}"


def _by_token(dist: Dist) -> torch.Tensor:
    probs = torch.zeros(len(dist.ids))
    probs[torch.tensor(list(dist.ids))] = torch.tensor(list(dist.probs))
    return probs


@contextmanager
def _counting(model: LoadedModel) -> Iterator[list[list[int]]]:
    """Each pass over the model meanwhile: of what was together in it, the tokens.

    Seen at the handler of `forward`, and at the steps of decodes that the torch backend runs by itself.
    """
    routes, passes = model.realization.routes, list[list[int]]()
    forward = routes[Forward]
    handler: Any = forward.__self__  # type: ignore[attr-defined]
    own_steps: Any = routes[Decode].__self__.own_steps  # type: ignore[attr-defined]

    def counted(batch: Sequence[Forward | ForwardWithAdapter]) -> Sequence[Any] | None:
        passes.append([len(command.iemb) for command in batch])
        return forward(batch)

    def stepped(runs: Sequence[Any], step: Callable[..., None]) -> None:
        passes.append([1] * len(runs))
        step(runs)

    with ExitStack() as patches:
        patches.enter_context(patch.object(handler, "forward", counted))
        patches.enter_context(patch.dict(routes, {Forward: counted}))
        if own_steps is not None:
            patches.enter_context(patch.object(own_steps, "step", partial(stepped, step=own_steps.step)))
        yield passes


async def _freed(model: LoadedModel, pages_kept: int) -> None:
    """What commands in flight touch when the program ends comes back a moment later."""
    async with asyncio.timeout(20):
        for kind, pool in model.layer.pools.items():
            while pool.free < pool.capacity - (pages_kept if kind is KvPage else 0):
                await asyncio.sleep(0.001)
    assert model.layer.spaces == {}
