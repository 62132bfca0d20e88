"""Attention of a pass by FlashInfer: each call goes where its kernels can express it.

Single tokens of regular calls (`calls`) in one launch, those that share a prefix in another that reads it once; longer
regular calls in one; whatever needs a mask in one (`masks`); what FlashInfer cannot do at all by torch's attention,
told once for each reason. One kind of kernel serves all, FlashInfer's paged prefill (its `fa2`): it is the one that
takes masks, and single tokens of grouped heads are its work too, for their heads fill its tiles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import structlog
import torch
from torch import Tensor
from torch.nn import functional

from pie_backend_torch.flash.calls import judge, read_calls
from pie_backend_torch.flash.covers import why_not
from pie_backend_torch.flash.parts import Part, divide
from pie_backend_torch.flash.tables import Engine, Variant
from pie_backend_torch.kernels import Flavour
from pie_backend_torch.pool import KvPool, LayerShape
from pie_backend_torch.step import Ints, Span, Step

log = structlog.get_logger(__name__)


class FlashInferAttention:
    """See `kernels.Attention`. FlashInfer plans on the host, for lengths as they are, so it is not captured."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._told: set[str] = set()

    def plan(self, spans: Sequence[Span], page_size: int, ordered: bool) -> FlashInferPlan:
        return FlashInferPlan(self, spans, page_size, ordered)

    @property
    def engine(self) -> Engine:
        """What launches."""
        return self._engine

    def tell(self, reason: str) -> None:
        """Something runs on torch's attention. Said once for each reason."""
        if reason not in self._told:
            self._told.add(reason)
            log.warning("attention.fallback", reason=reason, instead="sdpa")


class FlashInferPlan:
    """See `kernels.AttentionPlan`. Where calls go is decided when it is placed: that depends on the pool's ledger."""

    arrays: Sequence[Ints] = ()

    def __init__(self, attention: FlashInferAttention, spans: Sequence[Span], page_size: int, ordered: bool) -> None:
        self._attention, self._size, self._ordered = attention, page_size, ordered
        self._calls = read_calls(spans, page_size)
        self._parts: dict[object, Part] = {}
        self._step: Step | None = None

    def receive(self, tensors: Sequence[Tensor], device: torch.device) -> None:
        """Nothing was asked for."""

    def place(self, step: Step, pool: KvPool) -> None:
        ledger = pool.keep_ledger()
        judge(self._calls, ledger, self._size)
        slots, positions = (
            np.array([one for call in self._calls for one in getattr(call.span, name)], dtype=np.int64)
            for name in ("slots", "positions")
        )
        ledger.write(slots, positions)
        self._attention.engine.begin()
        self._step = step

    def attend(self, pool: KvPool, layer: int, query: Tensor, key: Tensor, value: Tensor, flavour: Flavour) -> Tensor:
        assert self._step is not None
        count, rows = self._step.count, query.shape[0]
        shape = LayerShape(key.shape[1], key.shape[2], value.shape[2])
        part = self._part(flavour, shape, pool)
        variant = Variant(
            query.shape[1], shape.heads, shape.key_width, pool.dtype, flavour.scale, flavour.window, flavour.softcap
        )
        out = part.attend(variant, pool, layer, query[:count], key[:count], value[:count], flavour)
        return functional.pad(out, (0, 0, 0, 0, 0, rows - count)) if rows > count else out

    def _part(self, flavour: Flavour, shape: LayerShape, pool: KvPool) -> Part:
        """Variant the calls are divided for a layer of this flavour."""
        assert self._step is not None
        reason = why_not(shape, flavour, pool.dtype)
        if reason is None and self._ordered:
            reason = "tokens of images stand in an order of their own"
        place: object = flavour.window if reason is None else reason
        part = self._parts.get(place)
        if part is None:
            if reason is not None:
                self._attention.tell(reason)
            divided = divide(self._calls, flavour.window, self._size, self._attention.tell, reason is not None)
            part = self._parts[place] = Part(
                divided, flavour.window, self._attention.engine, self._step, pool, self._ordered
            )
        return part
