"""Which device and number type the options mean on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pie_core.errors import ConfigError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(name: str, backend: str) -> torch.device:
    """The device of option `device`. Raises `ConfigError` saying which devices there are."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    known = ["auto", "cpu", *(f"cuda:{index}" for index in range(count))]
    if name == "auto":
        return torch.device("cuda:0" if count else "cpu")
    if name == "cuda" and count:
        return torch.device("cuda:0")
    if name not in known:
        raise ConfigError(f"{backend}: device is {name!r}; this machine has {', '.join(known)}")
    return torch.device(name)


def choose_dtype(name: str, config: Mapping[str, Any], device: torch.device) -> torch.dtype:
    """The type of option `dtype`; auto is float32 on a CPU and the checkpoint's own on a GPU."""
    if name != "auto":
        return DTYPES[name]
    if device.type == "cpu":
        return torch.float32
    own = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16").removeprefix("torch.")
    return DTYPES.get(own, torch.bfloat16)


def choose_attention_by_shape(device: torch.device) -> None:
    """Keep cuDNN out of `scaled_dot_product_attention`, for this process.

    From torch 2.11 on it comes first on Hopper and Blackwell. It builds a plan for every batch size and context width,
    some 30 ms each, and a server meets new ones all the time; the other kernels take any shape as it comes.
    """
    if device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)


def describe(device: torch.device, dtype: torch.dtype) -> str:
    """For people: "cpu (2 threads, float32)"."""
    kind = str(dtype).removeprefix("torch.")
    if device.type == "cpu":
        return f"cpu ({torch.get_num_threads()} threads, {kind})"
    return f"{device} ({torch.cuda.get_device_name(device)}, {kind})"
