"""The oracle of streams in constant memory: the laps that a text makes through the model's positions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from .conftest import Reference
from .masks import Mask
from .running import Look, Ran, run_on, serving, watching


@dataclass
class Stream:
    """Tokens as they are appended. Where the range ends, a lap begins with the `first` and the `last` tokens."""

    longest: int  # positions of the model
    last: int
    first: int = 0
    laps: list[list[int]] = field(default_factory=lambda: [[]])
    asked: list[tuple[int, int]] = field(default_factory=list)  # lap and position of each distribution

    def append(self, tokens: Sequence[int]) -> None:
        """Append tokens, as many at a time as the window has."""
        for start in range(0, len(tokens), self.last):
            piece, lap = tokens[start : start + self.last], self.laps[-1]
            if len(lap) + len(piece) > self.longest:
                lap = lap[: self.first] + lap[self.first :][-self.last :]
                self.laps.append(lap)
            lap += piece

    def ask(self) -> None:
        """Note that the distribution behind the last token is wanted."""
        self.asked.append((len(self.laps) - 1, len(self.laps[-1]) - 1))

    def logits(self, reference: Reference, mask: Callable[[int], Mask]) -> torch.Tensor:
        """[asked, vocabulary]. mask: for that many tokens."""
        laps = [reference.logits(lap, mask=torch.tensor(mask(len(lap)))) for lap in self.laps]
        return torch.stack([laps[lap][position] for lap, position in self.asked])


def watch(program: str, *arguments: str, model: str = "pico", page_size: int = 8) -> tuple[Ran, list[Look]]:
    """Run a program; also the distributions that it was told."""

    async def go() -> tuple[Ran, list[Look]]:
        async with serving(model, page_size=str(page_size)) as controller:
            with watching(controller) as looks:
                return await run_on(controller, program, *arguments), looks

    return asyncio.run(go())
