"""Which rows of the pass in progress go through which adapter: set by the handler, read by every adapted layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from pie_backend_torch.rows import rounded
from pie_backend_torch.upload import indices

BLOCK = 64  # rows of one adapter that are multiplied together on a GPU


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one adapter. `padded` has the number of rows that a CPU pass has, repeating the first."""

    adapter: str
    rows: Tensor  # [n]
    padded: Tensor  # [rounded(n)]


@dataclass(frozen=True, slots=True)
class Blocks:
    """All adapted rows in blocks of equal length, each of one adapter."""

    adapters: Tensor  # [blocks] places of the adapters in `Selection.names`
    gathered: Tensor  # [blocks * length] rows, the last of a block repeated where it is not full
    real: Tensor  # [n] places in `gathered` that are no repetition
    rows: Tensor  # [n] the rows at these places


class Selection:
    """`with selection.of({"poet": [0, 1, 5]}): decoder.hidden(...)`. Outside of a `with` no row is adapted."""

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        self.names = tuple(names)
        self._device = device
        self._chosen: Mapping[str, Sequence[int]] = {}
        self._parts: tuple[Part, ...] | None = None
        self._blocks: Blocks | None = None

    def of(self, rows: Mapping[str, Sequence[int]]) -> Self:
        """Choose rows, numbered as the pass has them, by the name of their adapter; for the next `with`."""
        self._chosen = rows
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._chosen, self._parts, self._blocks = {}, None, None

    def __bool__(self) -> bool:
        """Whether any row is adapted."""
        return bool(self._chosen)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The chosen rows by adapter; worked out once for a pass."""
        if self._parts is None:
            self._parts = tuple([self._part(name, rows) for name, rows in self._chosen.items()])
        return self._parts

    @property
    def blocks(self) -> Blocks:
        """The chosen rows in blocks; worked out once for a pass, and moved in one copy."""
        if self._blocks is None:
            self._blocks = self._in_blocks()
        return self._blocks

    def _part(self, name: str, rows: Sequence[int]) -> Part:
        padded = indices([*rows, *[rows[0]] * (rounded(len(rows)) - len(rows))], self._device)
        return Part(name, padded[: len(rows)], padded)

    def _in_blocks(self) -> Blocks:
        length = min(BLOCK, max(map(len, self._chosen.values())))
        adapters: list[int] = []
        gathered: list[int] = []
        real: list[int] = []
        for name, rows in self._chosen.items():
            for first in range(0, len(rows), length):
                block = rows[first : first + length]
                adapters.append(self.names.index(name))
                real += range(len(gathered), len(gathered) + len(block))
                gathered += [*block, *[block[-1]] * (length - len(block))]
        joined: Any = indices([*adapters, *gathered, *real, *[gathered[place] for place in real]], self._device)
        return Blocks(*torch.split(joined, [len(adapters), len(gathered), len(real), len(real)]))
