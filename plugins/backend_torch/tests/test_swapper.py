"""What leaves comes back to the bit, wherever it goes; and nothing else in the pools is touched."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pie_core.resource import Embed, KvPage


def fill(backend: Any) -> None:
    draw = torch.Generator().manual_seed(0)
    for tensor in tensors(backend):
        tensor.copy_(torch.randint(-99, 99, tensor.shape, generator=draw))


def tensors(backend: Any) -> list[torch.Tensor]:
    return [*backend.pool.keys, *backend.pool.values, backend.pool.positions, backend.embeds]


def pages(backend: Any, index: int) -> list[torch.Tensor]:
    """What a page is: its slots in every tensor of the pool, by the definition of a slot."""
    size = backend.pool.page_size
    return [tensor[index * size : (index + 1) * size].clone() for tensor in tensors(backend)[:-1]]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_pages_come_back_to_other_places_unchanged_and_those_not_wanted_nowhere(start: Any) -> None:
    backend = start("llama", pages=8).backend
    fill(backend)
    before = [pages(backend, index) for index in range(8)]
    copy = backend.swapper.swap_out(KvPage, [5, 0, 3])
    for tensor in backend.pool.keys:
        tensor.zero_()  # whoever is given the places meanwhile writes there
    fill(backend)
    backend.swapper.swap_in(KvPage, copy, [7, None, 0])
    assert same(pages(backend, 7), before[5]) and same(pages(backend, 0), before[3])
    assert all(same(pages(backend, index), before[index]) for index in range(1, 7))
    assert all(tensor.device.type == "cpu" for tensor in copy.tensors)


def test_embeds_come_back_and_the_bytes_are_counted(start: Any) -> None:
    backend = start("llama", pages=8).backend
    fill(backend)
    kept = backend.embeds.clone()
    copy = backend.swapper.swap_out(Embed, [1, 2])
    backend.embeds[[1, 2]] = 0
    backend.swapper.swap_in(Embed, copy, [2, 1])
    assert torch.equal(backend.embeds[1], kept[2]) and torch.equal(backend.embeds[2], kept[1])
    assert torch.equal(backend.embeds[3:], kept[3:])
    assert backend.swapper.bytes_of[Embed] == kept[0].nbytes
    assert backend.swapper.bytes_of[KvPage] == sum(tensor.nbytes for tensor in pages(backend, 0))


def test_what_the_host_knows_of_positions_moves_along(start: Any) -> None:
    backend = start("llama", pages=8).backend
    size, swapper = backend.pool.page_size, backend.swapper
    before = swapper.swap_out(KvPage, [4])
    ledger = backend.pool.keep_ledger()
    ledger.write(np.arange(5 * size, 6 * size), np.arange(100, 100 + size))
    copy = swapper.swap_out(KvPage, [3, 5])
    ledger.write(np.arange(8 * size), np.arange(8 * size))
    swapper.swap_in(KvPage, copy, [None, 7])
    swapper.swap_in(KvPage, before, [2])  # of a time when nothing was known
    whole = np.full(3, (1 << size) - 1)
    bases, known = ledger.standing(np.array([7, 2, 6]), whole)
    assert known.tolist() == [True, False, True] and bases[0] == 100 and bases[2] == 6 * size
