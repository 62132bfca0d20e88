"""Replaces modules of a transformers model, in place, by ones whose rows do not depend on their neighbours.

Linear layers become packed ones. Activations are run in pieces of whole rows, each small enough for one thread: torch
splits larger ones over threads wherever the count falls, and rounds an exponential differently at the seam.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pie_backend_torch.linear import Linear, LinearMaker, can_pack

PIECE = 16384  # numbers; torch runs any activation of up to this many on one thread
VECTOR = 64  # numbers; a multiple of what torch computes at once on any CPU


class PackedModule(nn.Module):
    """A linear layer over packed weights, for x of any rank."""

    def __init__(self, linear: Linear, out_features: int) -> None:
        super().__init__()
        self._linear = linear
        self._out_features = out_features

    def forward(self, x: Tensor) -> Tensor:
        return self._linear(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], self._out_features)


class RowwiseActivation(nn.Module):
    """An activation over x [..., width], in pieces of whole rows, each padded to whole vectors."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self._activation = activation

    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[-1]
        if width % VECTOR:  # the numbers left over at the end of a piece would be rounded differently
            return self.forward(functional.pad(x, (0, -width % VECTOR)))[..., :width]
        if x.numel() <= PIECE or torch.get_num_threads() == 1:
            return cast(Tensor, self._activation(x))
        rows = x.reshape(-1, x.shape[-1])
        pieces = torch.split(rows, max(1, PIECE // width))
        return torch.cat([self._activation(piece) for piece in pieces]).view(x.shape)


def split_activations(model: nn.Module, called: Container[nn.Module]) -> int:
    """Make every activation module among `called` row-wise; returns how many."""
    from transformers.activations import ACT2CLS

    kinds = {entry[0] if isinstance(entry, tuple) else entry for entry in ACT2CLS.values()}
    split = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if child in called and type(child) in kinds:
                setattr(parent, name, RowwiseActivation(child))
                split += 1
    return split


def pack_linears(model: nn.Module, called: Container[nn.Module]) -> int:
    """Pack every plain linear layer among `called`, dropping the originals; returns how many.

    Others are left alone: a layer that is never called itself may have its weight read by somebody.
    """
    packed, maker = 0, LinearMaker()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if child in called and (weight := _weight(child)) is not None and can_pack(weight):
                bias = child.bias if isinstance(child.bias, Tensor) else None
                setattr(parent, name, PackedModule(maker.make(weight.detach(), bias), weight.shape[0]))
                packed += 1
    return packed


def adaptable_layers(model: nn.Module, called: Mapping[nn.Module, int]) -> dict[str, tuple[int, ...]]:
    """Name and shape (out, in) of the linear layers that take each row of a pass once, seen when one row was run.

    Not those of experts, which take the rows that are routed to them.
    """
    shapes = {}
    for name, module in model.named_modules():
        weight = _weight(module)
        if weight is not None and called.get(module) == 1 and "experts" not in name.split("."):
            shapes[name] = tuple(weight.shape)
    return shapes


def _weight(module: Any) -> Tensor | None:
    """The weight [out, in] of a plain linear layer, also of GPT-2's transposed kind; None for anything else."""
    if type(module) is nn.Linear:
        return module.weight
    if type(module).__name__ == "Conv1D" and type(module).__module__ == "transformers.pytorch_utils":
        weight = module.weight
        return weight.t() if isinstance(weight, Tensor) else None
    return None
