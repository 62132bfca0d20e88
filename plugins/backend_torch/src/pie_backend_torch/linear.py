"""Matrix products with constant weights, on a CPU prepacked for oneDNN so that a row never depends on its neighbours.

A plain `linear` in fp32 picks another kernel for few rows and then rounds differently, so a token's result would
depend on what it was batched with. oneDNN over prepacked weights gives the same bits for every number of rows except,
for some widths, a single one; such a row is run twice over. The activation and the residual ride along as oneDNN
post-ops: fewer launches, and no separate vectorised exponential whose tail handling depends on the batch.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import structlog
import torch
from torch import Tensor
from torch.nn import functional

log = structlog.get_logger(__name__)

PROBE_ROWS = 48


class Linear(Protocol):
    """`y = x @ weight.T + bias`, x [rows, in] and y [rows, out], alone or with what follows it."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def silu(self, x: Tensor) -> Tensor:
        """silu(y)"""

    def mul(self, x: Tensor, other: Tensor) -> Tensor:
        """y * other, other [rows, out]"""

    def add(self, x: Tensor, other: Tensor) -> Tensor:
        """y + other, other [rows, out], which is not used any more: it may hold the result."""


class PlainLinear:
    """The product as torch has it: for GPUs and for builds without oneDNN."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = weight
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)

    def silu(self, x: Tensor) -> Tensor:
        return functional.silu(self(x))

    def mul(self, x: Tensor, other: Tensor) -> Tensor:
        return self(x) * other

    def add(self, x: Tensor, other: Tensor) -> Tensor:
        out = other.addmm_(x, self.weight.t())  # rounded once, and in one launch
        return out if self.bias is None else out.add_(self.bias)


class PackedLinear:
    """The product over a oneDNN-packed copy of the weight; the original may be dropped."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        ops = cast(Any, torch.ops.mkldnn)  # not typed by torch
        self._run = ops._linear_pointwise.default
        self._binary = ops._linear_pointwise.binary
        self._packed = ops._reorder_linear_weight(weight, 16)
        self._bias = bias
        self._twice = False

    def __call__(self, x: Tensor) -> Tensor:
        if self._twice and x.shape[0] == 1:
            return self(_two(x))[:1]
        return cast(Tensor, self._run(x, self._packed, self._bias, "none", [], ""))

    def silu(self, x: Tensor) -> Tensor:
        if self._twice and x.shape[0] == 1:
            return self.silu(_two(x))[:1]
        return cast(Tensor, self._run(x, self._packed, self._bias, "swish", [], ""))

    def mul(self, x: Tensor, other: Tensor) -> Tensor:
        if self._twice and x.shape[0] == 1:
            return self.mul(_two(x), _two(other))[:1]
        return cast(Tensor, self._binary(x, other, self._packed, self._bias, "mul"))

    def add(self, x: Tensor, other: Tensor) -> Tensor:
        if self._twice and x.shape[0] == 1:
            return self.add(_two(x), _two(other))[:1]
        return cast(Tensor, self._binary(x, other, self._packed, self._bias, "add"))

    def run_single_rows_twice(self) -> None:
        """From now on a single row is run as two."""
        self._twice = True


class LinearMaker:
    """Makes the linear layers of one model, and finds out once per shape how this machine treats a single row."""

    def __init__(self) -> None:
        self._single_row_differs: dict[tuple[int, int, torch.dtype, int], bool] = {}

    def make(self, weight: Tensor, bias: Tensor | None = None) -> Linear:
        """The best `Linear` for where the weight [out, in] lies; a packed one keeps no reference to it."""
        if not can_pack(weight):
            return PlainLinear(weight, bias)
        linear = PackedLinear(weight.contiguous(), bias)
        key = (weight.shape[0], weight.shape[1], weight.dtype, torch.get_num_threads())
        if key not in self._single_row_differs:
            self._single_row_differs[key] = _single_row_differs(linear, weight)
        if self._single_row_differs[key]:
            linear.run_single_rows_twice()
        return linear


def _single_row_differs(linear: PackedLinear, weight: Tensor) -> bool:
    """Whether one row alone rounds differently on this machine; logs if other numbers of rows do too (fp32)."""
    if weight.dtype != torch.float32:
        return False
    x = torch.randn(PROBE_ROWS, weight.shape[1], generator=torch.Generator().manual_seed(0))
    whole = linear(x)
    differing = [n for n in (2, 8, 40) if not torch.equal(linear(x[:n]), whole[:n])]
    if differing:
        log.warning("linear.batch_dependent", shape=tuple(weight.shape), rows=differing)
    # several single rows: a narrow layer may give equal sums by luck
    singles = torch.cat([linear(row) for row in x[:8].split(1)])  # type: ignore[no-untyped-call]
    return not torch.equal(singles, whole[:8])


def can_pack(weight: Tensor) -> bool:
    """Whether oneDNN packs weights of this device and type in this build of torch."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return weight.dtype == torch.float32 or (
        weight.dtype == torch.bfloat16 and bool(cast(Any, torch.ops.mkldnn)._is_mkldnn_bf16_supported())
    )


def _two(x: Tensor) -> Tensor:
    return x.expand(2, -1).contiguous()
