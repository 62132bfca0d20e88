"""Which attention a model gets: FlashInfer where it can be, torch's where not, and the reason in the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import structlog
import torch

from pie_backend_torch.attention import GroupedAttention
from pie_backend_torch.flash.attention import FlashInferAttention
from pie_backend_torch.flash.covers import why_not
from pie_backend_torch.flash.selfcheck import TOLERANCE, Asked, difference
from pie_backend_torch.flash.tables import Engine
from pie_backend_torch.kernels import Attention
from pie_core.errors import ConfigError

log = structlog.get_logger(__name__)


def open_flashinfer(device: torch.device) -> Engine:
    """FlashInfer on this GPU. Raises whatever its import raises."""
    from pie_backend_torch.flash.engine import FlashInfer

    return FlashInfer(device)


def choose_attention(
    wanted: str,
    asked: Sequence[Asked],
    dtype: torch.dtype,
    device: torch.device,
    page_size: int,
    open_engine: Callable[[torch.device], Engine] = open_flashinfer,
) -> Attention:
    """The attention of option `attention`, for layers that ask for this. Says in the log what it is and why.

    Raises `ConfigError` where FlashInfer was asked for and cannot be.
    """
    if wanted == "sdpa":
        log.info("attention.chosen", attention="sdpa", why="attention=sdpa")
        return GroupedAttention()
    reason = _why_not_here(asked, dtype, device)
    if reason is None:
        found = _checked(asked, dtype, device, page_size, open_engine)
        if not isinstance(found, str):
            log.info("attention.chosen", attention="flashinfer", why=f"attention={wanted}")
            return found
        reason = found
    if wanted == "flashinfer":
        raise ConfigError(f"torch: attention=flashinfer cannot be: {reason}; take attention=auto or sdpa")
    log.info("attention.chosen", attention="sdpa", why=f"not flashinfer: {reason}")
    return GroupedAttention()


def _why_not_here(asked: Sequence[Asked], dtype: torch.dtype, device: torch.device) -> str | None:
    if device.type != "cuda":
        return f"it runs on CUDA GPUs, and the device is {device}"
    reasons = (why_not(one.shape, one.flavour, dtype) for one in asked)
    if (reason := next((reason for reason in reasons if reason is not None), None)) is not None:
        return reason
    if find_spec("flashinfer") is None:
        return "it is not installed (pip install 'pie-backend-torch[flashinfer]')"
    return None


def _checked(
    asked: Sequence[Asked],
    dtype: torch.dtype,
    device: torch.device,
    page_size: int,
    open_engine: Callable[[torch.device], Engine],
) -> FlashInferAttention | str:
    """FlashInfer, or why it is of no use here. The first start that needs its kernels compiles them on the way."""
    try:
        attention = FlashInferAttention(open_engine(device))
        worst = max(difference(attention, one, dtype, device, page_size) for one in asked)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # an import, a compiler or a kernel failed: whatever that is, it is no use
        text = str(error).strip()
        return f"it does not run here ({type(error).__name__}: {(text.splitlines() or [''])[0][:200]})"
    if worst > TOLERANCE:
        return f"its results differ from torch's by {worst:.1e} of the largest (up to {TOLERANCE:.0e} is rounding)"
    return attention
