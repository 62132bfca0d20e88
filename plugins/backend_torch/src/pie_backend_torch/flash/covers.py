"""What FlashInfer's kernels take, as far as we use them."""

from __future__ import annotations

import torch

from pie_backend_torch.kernels import Flavour
from pie_backend_torch.pool import LayerShape

WIDTHS = (64, 128, 256)
DTYPES = (torch.bfloat16, torch.float16)


def why_not(shape: LayerShape, flavour: Flavour, dtype: torch.dtype) -> str | None:
    """What stands in the way of a layer; None if nothing does."""
    if dtype not in DTYPES:
        return f"its kernels take bfloat16 and float16, not {str(dtype).removeprefix('torch.')}"
    if shape.key_width != shape.value_width or shape.key_width not in WIDTHS:
        one = shape.key_width if shape.key_width == shape.value_width else f"{shape.key_width} and {shape.value_width}"
        return f"its kernels take heads {', '.join(map(str, WIDTHS[:-1]))} or {WIDTHS[-1]} wide, not {one}"
    if flavour.sinks is not None:
        return "its kernels have no sinks"
    return None
