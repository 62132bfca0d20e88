"""Indices and masks from the host to the device, without the host waiting for the device.

A copy to a GPU from ordinary memory waits until all that was launched before it has run, so each would leave the GPU
idle until the host has caught up again. One from pinned memory is put in line behind it, and torch hands out the pinned
memory anew only after the copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on the device; the same one if that is the host. The caller changes it no more."""
    if device.type != "cuda" or tensor.numel() == 0:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def indices(values: Sequence[int] | Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Numbers as an int64 tensor on the device."""
    return upload(torch.tensor(values, dtype=torch.int64), device)
