"""How large the pools may be: decided before anything is allocated, refused with numbers when it cannot fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from pie_backend_torch.options import TorchOptions
from pie_core.errors import ResourceError

MOST_TOKENS = 131072  # of a pool whose size nobody chose
RESERVE = {"cpu": 256 << 20, "cuda": 2 << 30}  # bytes left for activations and everybody else


def free_bytes(device: torch.device) -> int:
    """Memory that can be taken now on the device."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for the next tensor
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    return int(psutil.virtual_memory().available)


def check_weights(needed: int, device: torch.device) -> None:
    """Raise `ResourceError` if weights of `needed` bytes do not fit."""
    free = free_bytes(device)
    if needed + RESERVE[device.type] > free:
        raise ResourceError(
            f"torch: the weights take {_size(needed)} and {device} has {_size(free)} free; free memory, take a smaller "
            "dtype (--option dtype=bfloat16) or a smaller checkpoint"
        )


def choose_pages(options: TorchOptions, token_bytes: int, embed_bytes: int, device: torch.device) -> int:
    """How many pages the pool gets, once the weights are in memory. Raises `ResourceError` if it does not fit.

    token_bytes: what one token slot takes over all layers; embed_bytes: what one Embed takes.
    """
    page = token_bytes * options.page_size
    embeds = embed_bytes * options.embeds
    room = free_bytes(device) - RESERVE[device.type] - embeds
    fitting = max(0, room // page)
    if options.pages is not None:
        if options.pages > fitting:
            raise ResourceError(
                f"torch: {options.pages} pages of {_size(page)} take {_size(options.pages * page)} beside "
                f"{_size(embeds)} of Embeds, and {device} has {_size(free_bytes(device))} free; {fitting} pages would "
                f"fit (--option pages={fitting})"
            )
        return options.pages
    pages = min(MOST_TOKENS // options.page_size, int(fitting * options.memory))
    if pages < 1:
        raise ResourceError(
            f"torch: not one page of {_size(page)} fits in {options.memory:.0%} of what {device} has left beside "
            f"{_size(embeds)} of Embeds; free memory or take fewer Embeds (--option embeds=...)"
        )
    return pages


@contextmanager
def told(device: torch.device) -> Iterator[None]:
    """Around what allocates at load: the checks leave room, but others take memory too. Raises `ResourceError`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"torch: {device} ran out of memory while the model was loaded, with {_size(free_bytes(device))} free; "
            "free memory, or take fewer pages (--option pages=...), fewer Embeds (--option embeds=...) or a smaller "
            "dtype (--option dtype=bfloat16)"
        ) from error


def _size(count: int) -> str:
    return f"{count / (1 << 30):.2f} GiB" if count >= 1 << 28 else f"{count / (1 << 20):.1f} MiB"
