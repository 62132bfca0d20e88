"""What the kernels cover, and what a model that they do not cover is told: why, and which backend takes it."""

from __future__ import annotations

import torch
import triton
from pie_backend_torch.building import LeanConfig

from pie_backend_triton.tiles import HEIGHTS
from pie_core.errors import ConfigError, UnsupportedError

WIDTHS = (64, 96, 128)  # of a head, on a device; the interpreter takes any up to the largest
CAPABILITY = (8, 0)  # the oldest that the kernels are compiled for
INSTEAD = "use --backend torch, which takes it"


def interpreted() -> bool:
    """Whether Triton's interpreter runs kernels, on any machine and slowly (TRITON_INTERPRET=1)."""
    return bool(triton.knobs.runtime.interpret)


def processors(device: torch.device) -> int:
    """Multiprocessors of a device: how many programs run side by side, at the least."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 8


def check_coverage(config: LeanConfig, device: torch.device) -> None:
    """Raise `ConfigError` for a device, or `UnsupportedError` for a model, that the kernels do not run on."""
    check_device(device)
    most = HEIGHTS[1]
    for fault, what in (
        (
            config.heads > most * config.kv_heads,
            f"{config.heads} query heads over {config.kv_heads} key heads (they cover up to {most} over one)",
        ),
        (not _covered(config.head_width, device), f"heads {config.head_width} wide (they cover {_listed(WIDTHS)})"),
    ):
        if fault:
            raise UnsupportedError(f"triton: the kernels do not cover {what}; {INSTEAD}")


def check_device(device: torch.device) -> None:
    """Raise `ConfigError` where the kernels cannot run."""
    if device.type != "cuda":
        if not interpreted():
            raise ConfigError(
                f"triton: the kernels run on CUDA devices, this model goes to {device}; use --backend torch, or set "
                "TRITON_INTERPRET=1 to run them slowly under Triton's interpreter, for tests"
            )
    elif torch.cuda.get_device_capability(device) < CAPABILITY:
        found = ".".join(map(str, torch.cuda.get_device_capability(device)))
        raise ConfigError(
            f"triton: {device} has compute capability {found}, 8.0 or more is wanted; use --backend torch"
        )


def _covered(width: int, device: torch.device) -> bool:
    return width in WIDTHS or (device.type == "cpu" and width <= max(WIDTHS))


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))
