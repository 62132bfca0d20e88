"""How large the pools may be: decided before anything is allocated, refused with numbers when it cannot fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from traceback import clear_frames

import psutil
import torch

from pie_backend_torch.device import DTYPES
from pie_backend_torch.options import TorchOptions
from pie_core.errors import ResourceError

MOST_TOKENS = 131072  # of a pool whose size nobody chose
RESERVE = {"cpu": 256 << 20, "cuda": 2 << 30}  # bytes left for activations and everybody else
ROOM_NOW = (
    "there is enough free now: start again; should it come back, find out what takes memory while the model is loaded, "
    "or what limits this process"
)
_OUT = (  # of errors that torch has no type for
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def free_bytes(device: torch.device) -> int:
    """Memory that can be taken now on the device."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for the next tensor
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    return int(psutil.virtual_memory().available)


def check_weights(parameters: int, dtype: torch.dtype, device: torch.device, backend: str) -> None:
    """Raise `ResourceError` if weights of so many numbers do not fit."""
    if parameters * dtype.itemsize > _room(device):
        weights = weights_in(parameters, dtype)
        raise ResourceError(
            f"{backend}: the weights take {weights}, {_left(device)}; {weights_that_fit(parameters, dtype, device)}"
        )


def weights_in(parameters: int, dtype: torch.dtype) -> str:
    """For people: "14.00 GiB in float32"."""
    return f"{_size(parameters * dtype.itemsize)} in {str(dtype).removeprefix('torch.')}"


def weights_that_fit(parameters: int, dtype: torch.dtype, device: torch.device) -> str:
    """What to do where weights did not fit: the smaller dtypes in which they would now, or how much is lacking."""
    smaller = {name: kind for name, kind in DTYPES.items() if kind.itemsize < dtype.itemsize}
    fitting = {name: kind for name, kind in smaller.items() if parameters * kind.itemsize <= _room(device)}
    if fitting:
        sizes = " or ".join(weights_in(parameters, kind) for kind in fitting.values())
        return f"they would fit as {sizes} (--option dtype={next(iter(fitting))})"
    least = min((dtype, *smaller.values()), key=lambda kind: kind.itemsize)
    lacking = parameters * least.itemsize - _room(device)
    if lacking <= 0:
        return ROOM_NOW
    weights = weights_in(parameters, least)
    return f"free {_upward(lacking)} more, which is room for {weights}, or take a smaller checkpoint"


def choose_pages(options: TorchOptions, token_bytes: int, embed_bytes: int, device: torch.device, backend: str) -> int:
    """How many pages the pool gets, once the weights are in memory. Raises `ResourceError` if it does not fit.

    token_bytes: what one token slot takes over all layers; embed_bytes: what one Embed takes.
    """
    page, fitting = token_bytes * options.page_size, _fitting_pages(options, token_bytes, embed_bytes, device)
    pages = options.pages or min(MOST_TOKENS // options.page_size, int(fitting * options.memory))
    if 1 <= pages <= fitting:
        return pages
    what = (
        f"not one page of {_size(page)} fits in {options.memory:.0%} of what is left"
        if options.pages is None
        else f"{pages} pages of {_size(page)} take {_size(pages * page)} and do not fit"
    )
    raise ResourceError(
        f"{backend}: {what} beside {_size(embed_bytes * options.embeds)} of Embeds, {_left(device)}; "
        f"{pools_that_fit(options, token_bytes, embed_bytes, device)}"
    )


def pools_that_fit(options: TorchOptions, token_bytes: int, embed_bytes: int, device: torch.device) -> str:
    """What to do where the pools did not fit: how many pages would now, if any; or with fewer Embeds; or what to free.

    Of what is left, half is for pages then, and the rest for Embeds.
    """
    fitting = _fitting_pages(options, token_bytes, embed_bytes, device)
    if options.pages is not None and options.pages <= fitting:
        return ROOM_NOW
    if fitting:
        return f"{fitting} pages would fit (--option pages={fitting})"
    page, room = token_bytes * options.page_size, _room(device)
    pages = max(1, min(options.pages or MOST_TOKENS // options.page_size, room // 2 // page))
    embeds = (room - pages * page) // embed_bytes
    if embeds < 1:
        return f"free {_upward(page + embed_bytes - room)} more at the least, for one page and one Embed"
    return f"{pages} pages and {embeds} Embeds would fit (--option pages={pages} --option embeds={embeds})"


def _fitting_pages(options: TorchOptions, token_bytes: int, embed_bytes: int, device: torch.device) -> int:
    """How many pages would fit beside the Embeds in what is free now."""
    room = _room(device) - embed_bytes * options.embeds
    return max(0, room // (token_bytes * options.page_size))


@contextmanager
def told(device: torch.device, backend: str, doing: str, instead: Callable[[], str]) -> Iterator[None]:
    """Around what allocates at load: the checks leave room, but others take memory too. Raises `ResourceError`.

    doing: what ran out ("the pools were allocated"). instead: what to do about it, asked once all that is free again.
    """
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        clear_frames(error.__traceback__)  # they hold what was allocated so far
        raise ResourceError(
            f"{backend}: {device} ran out of memory while {doing}, {_left(device)}; {instead()}"
        ) from error


def ran_out(error: Exception) -> bool:
    """Whether it says that there is no memory, of a device or of the host."""
    if isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT):
        return True
    return isinstance(error, (torch.OutOfMemoryError, MemoryError))


def _room(device: torch.device) -> int:
    return free_bytes(device) - RESERVE[device.type]


def _left(device: torch.device) -> str:
    free, reserve = _size(free_bytes(device)), _size(RESERVE[device.type])
    return f"and {device} has {free} free, {reserve} to be left for activations"


def _size(count: int) -> str:
    return f"{count / (1 << 30):.2f} GiB" if count >= 1 << 28 else f"{count / (1 << 20):.1f} MiB"


def _upward(count: int) -> str:
    return f"{-(-count // (1 << 20))} MiB"
