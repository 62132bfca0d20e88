"""Passes of one token a call, in shapes that are run again for other calls, say what the torch backend says of each."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pie_backend_torch import plugin as torch_plugin
from pie_backend_torch.ahead.steps import StepsAhead
from pie_backend_torch.building import TorchBackend, run_pass
from pie_backend_torch.handlers.forward import ForwardHandler
from pie_backend_torch.kernels import PlansSteps
from pie_backend_torch.options import TorchOptions
from pie_backend_torch.token_passes import MOST_CALLS, TokenPasses
from pie_backend_triton import plugin
from pie_traits_text.forward import Forward

from pie_core import Embed, KvPage, Mask
from pie_core.model import ModelSpec

from .checkpoints import write_checkpoint
from .conftest import DEVICE, worst

SIZE, PAGES, EMBEDS, WIDTH = 8, 96, 48, 36


class World:
    """Two backends that run the same calls over the same pages: ours, and torch's, a call at a time."""

    def __init__(self, path: Path, seed: int) -> None:
        options = TorchOptions(pages=PAGES, embeds=EMBEDS, page_size=SIZE, dtype="float32", device=str(DEVICE))
        self.ours, self.theirs = (
            kind.load(ModelSpec("m", path), options, lambda stage, share: None) for kind in (plugin, torch_plugin)
        )
        attention = self.ours.decoder.kernels.attention
        assert isinstance(attention, PlansSteps)
        self.passes = TokenPasses(self.ours, attention)
        self.random = random.Random(seed)
        self.pages = self.random.sample(range(PAGES), PAGES)
        self.places = self.random.sample(range(EMBEDS), EMBEDS)
        self.shared = self.written(21)

    def taken(self, count: int) -> list[KvPage]:
        made = [KvPage(SIZE) for _ in range(count)]
        for page in made:
            page.index = self.pages.pop()
        return made

    def embed(self, position: int, place: int | None = None) -> Embed:
        """Some vector, the same on both backends."""
        made = Embed()
        made.index, made.position = self.places[0] if place is None else place, position
        self.places = self.places[1:] + self.places[:1]
        vector = torch.tensor([self.random.gauss(0, 1) for _ in range(WIDTH)])
        for backend in (self.ours, self.theirs):
            backend.embeds[made.index] = vector.to(DEVICE)
        return made

    def command(self, *arguments: Any, mask: Mask | None = None) -> Forward:
        made = Forward(*map(tuple, arguments), mask)
        made.prepare(self.ours.info)
        return made

    def written(self, count: int) -> list[KvPage]:
        """Pages that hold so many tokens at positions from 0 on."""
        pages = self.taken(-(-count // SIZE))
        command = self.command([], [self.embed(position) for position in range(count)], pages, [])
        for backend in (self.ours, self.theirs):
            run_pass(backend, [command])
        return pages

    def program(self) -> Program:
        count = self.random.choice((0, 1, 7, 8, 19))
        shares = self.random.random() < 0.6
        own = self.written(count) if count else []
        for page in own:
            page.hidden = self.random.getrandbits(SIZE) & page.used if self.random.random() < 0.3 else 0
        return Program(self, [*self.shared, *own] if shares else own, max(count, 21 if shares else 0))


class Program:
    """One that draws token by token."""

    def __init__(self, world: World, pages: list[KvPage], position: int) -> None:
        self.world, self.pages, self.position = world, pages, position

    def next(self, read: int, written: int) -> Forward:
        """A call of one token, whose page may be new, and whose output may be its input."""
        draw = self.world.random
        room = [page for page in self.pages[-1:] if page.free and page not in self.world.shared]
        page = room[0] if room else self.world.taken(1)[0]
        seen = self.pages if room or draw.random() < 0.5 else [*self.pages, page]
        token = self.world.embed(self.position, read)
        out = draw.choice([[], [token], [self.world.embed(self.position, written)]])
        made = self.world.command(seen, [token], [page], out)
        self.pages, self.position = [*self.pages, *([] if room else [page])], self.position + 1
        return made


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return lambda family: write_checkpoint(tmp_path_factory.mktemp("made") / family, family)


def kept(backend: TorchBackend, commands: Sequence[Forward]) -> list[torch.Tensor]:
    """Copies of all that these calls are not to write."""
    slots = [one.okv[place].index * SIZE + at for one in commands for place, at in one.slots]
    slots += range(backend.pool.scratch_slot, backend.pool.scratch_slot + SIZE)
    rows = [one.oemb[0].index for one in commands if one.oemb] + [backend.scratch_embed]
    whole = [(tensor, slots) for tensor in backend.pool.tensors] + [(backend.embeds, rows)]
    return [tensor.clone().index_fill_(0, torch.tensor(gone, device=DEVICE), 0) for tensor, gone in whole]


@pytest.mark.parametrize("family", ["llama", "mistral"])
@torch.inference_mode()
def test_calls_of_one_token_say_what_torch_says_of_each(path: Callable[[str], Path], family: str) -> None:
    world = World(path(family), seed=1)
    programs = [world.program() for _ in range(5)]
    for count in (5, 3, 5, 4, 1, 5, 3, 5):  # as many calls as the shape holds, and fewer; some shapes come often
        order = world.random.sample(range(EMBEDS), 2 * count)
        some = world.random.sample(programs, count)
        commands = [one.next(order[2 * at], order[2 * at + 1]) for at, one in enumerate(some)]
        assert world.passes.takes(commands)
        before = kept(world.ours, commands)
        world.passes.run(commands)
        for one in commands:
            run_pass(world.theirs, [one])
        assert all(map(torch.equal, before, kept(world.ours, commands)))
        for one in commands:
            for embed in one.oemb:
                got, wanted = (backend.embeds[embed.index] for backend in (world.ours, world.theirs))
                assert worst(got, wanted.double()) < 1e-5
            ((place, at),) = one.slots
            slot = one.okv[place].index * SIZE + at
            assert world.ours.pool.positions[slot] == one.positions[0]


def test_steps_are_not_run_far_ahead_of_calls_of_one_token(
    path: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, told = World(path("llama"), seed=3), []
    monkeypatch.setattr(StepsAhead, "beside", lambda _: told.append("beside"))
    monkeypatch.setattr(TokenPasses, "run", lambda _, batch: told.append(len(batch)))
    handler = ForwardHandler(world.ours)
    handler.open_steps()
    handler.forward([Program(world, [], 0).next(0, 1)])
    handler.forward([world.command([], [world.embed(0), world.embed(1)], world.taken(1), [])])
    handler.forward([world.command([], [world.embed(0)], world.taken(1), [], mask=Mask(1, 1, b"\1"))])
    assert told == ["beside", 1, "beside"]


def test_other_calls_are_for_a_pass_of_their_own(path: Callable[[str], Path]) -> None:
    world = World(path("llama"), seed=2)
    one = Program(world, [], 0).next(0, 1)
    two = world.command([], [world.embed(0), world.embed(1)], world.taken(1), [])
    masked = world.command([], [world.embed(0)], world.taken(1), [], mask=Mask(1, 1, b"\1"))
    assert world.passes.takes([one])
    assert not world.passes.takes([one, two])
    assert not world.passes.takes([masked])
    assert not world.passes.takes([one] * (MOST_CALLS + 1))
