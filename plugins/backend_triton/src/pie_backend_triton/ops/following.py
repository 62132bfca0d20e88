"""Starting while the kernel before still ends: programmatic dependent launch, of CUDA devices since Hopper.

The kernels of a decode step take some microseconds each, of which getting started is one or two. One that follows is
started when the programs of the one before are; it does what does not depend on that one (reading weights), then waits
for its end. Each waits, so each also comes behind all that the one before had waited for.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

HOPPER = (9, 0)


@triton.jit
def follow(FOLLOWS: tl.constexpr):
    """Let the next kernel start, and wait for the one before."""
    release(FOLLOWS)
    wait(FOLLOWS)


@triton.jit
def release(FOLLOWS: tl.constexpr):
    """Let the next kernel start."""
    if FOLLOWS:
        gdc_launch_dependents()


@triton.jit
def wait(FOLLOWS: tl.constexpr):
    """Wait for the kernel before. Nothing that it or those before it in the pass write may be read any earlier."""
    if FOLLOWS:
        gdc_wait()


def following(device: torch.device) -> dict[str, Any]:
    """What a launch on a device takes for it: the constant FOLLOWS, and the option."""
    return {"FOLLOWS": True, "launch_pdl": True} if _can_follow(device) else {"FOLLOWS": False}


@cache
def _can_follow(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= HOPPER
