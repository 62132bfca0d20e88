"""How large the pools may be: decided before anything is allocated, refused with numbers when it cannot fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from traceback import clear_frames

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


def check_weights(needed: int, device: torch.device, backend: str) -> None:
    """Raise `ResourceError` if weights of `needed` bytes do not fit."""
    free = free_bytes(device)
    if needed + RESERVE[device.type] > free:
        raise ResourceError(
            f"{backend}: the weights take {_size(needed)} and {device} has {_size(free)} free; free memory, take a "
            "smaller dtype (--option dtype=bfloat16) or a smaller checkpoint"
        )


def choose_pages(options: TorchOptions, token_bytes: int, embed_bytes: int, device: torch.device, backend: str) -> int:
    """How many pages the pool gets, once the weights are in memory. Raises `ResourceError` if it does not fit.

    token_bytes: what one token slot takes over all layers; embed_bytes: what one Embed takes.
    """
    page, embeds = token_bytes * options.page_size, embed_bytes * options.embeds
    fitting = fitting_pages(options, token_bytes, embed_bytes, device)
    if options.pages is not None:
        if options.pages > fitting:
            raise ResourceError(
                f"{backend}: {options.pages} pages of {_size(page)} take {_size(options.pages * page)} beside "
                f"{_size(embeds)} of Embeds, and {device} has {_size(free_bytes(device))} free; {fitting} pages would "
                f"fit (--option pages={fitting})"
            )
        return options.pages
    pages = min(MOST_TOKENS // options.page_size, int(fitting * options.memory))
    if pages < 1:
        raise ResourceError(
            f"{backend}: not one page of {_size(page)} fits in {options.memory:.0%} of what {device} has left beside "
            f"{_size(embeds)} of Embeds; free memory or take fewer Embeds (--option embeds=...)"
        )
    return pages


def fitting_pages(options: TorchOptions, token_bytes: int, embed_bytes: int, device: torch.device) -> int:
    """How many pages would fit beside the Embeds in what is free now."""
    room = free_bytes(device) - RESERVE[device.type] - embed_bytes * options.embeds
    return max(0, room // (token_bytes * options.page_size))


@contextmanager
def told(device: torch.device, backend: str, fitting: Callable[[], int] | None = None) -> Iterator[None]:
    """Around what allocates at load: the checks leave room, but others take memory too. Raises `ResourceError`.

    fitting: how many pages would fit now, where it is the pools that are allocated.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        clear_frames(error.__traceback__)  # they hold what was allocated so far
        instead = "fewer pages (--option pages=...)"
        if fitting is not None:
            count = fitting()
            instead = f"fewer pages ({count} would fit: --option pages={count})"
        raise ResourceError(
            f"{backend}: {device} ran out of memory while the model was loaded, with {_size(free_bytes(device))} free; "
            f"free memory, or take {instead}, fewer Embeds (--option embeds=...) or a smaller dtype (--option "
            "dtype=bfloat16)"
        ) from error


def _size(count: int) -> str:
    return f"{count / (1 << 30):.2f} GiB" if count >= 1 << 28 else f"{count / (1 << 20):.1f} MiB"
