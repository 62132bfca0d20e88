"""Rotary positions for the lean path: cos and sin of every position, from the model's own rope parameters.

Rows are computed in blocks of fixed size as positions come up, so that a position's row is the same bits whatever
else was asked for. Families of scaling other than the plain one are computed by transformers itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BLOCK = 4096  # positions
SUPPORTED = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True)
class RopeConfig:
    """The fields of a transformers config that its rope functions read."""

    rope_parameters: dict[str, Any]
    head_dim: int
    hidden_size: int
    num_attention_heads: int
    max_position_embeddings: int

    def standardize_rope_params(self) -> None:
        """Called by transformers; the parameters are in its current form already."""


def rope_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rope parameters in transformers' current form, from a config.json of any age."""
    parameters = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    parameters["rope_type"] = parameters.pop("type", None) or parameters.get("rope_type") or "default"
    parameters.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    if "original_max_position_embeddings" in config:
        parameters.setdefault("original_max_position_embeddings", config["original_max_position_embeddings"])
    if parameters["rope_type"] in ("llama3", "yarn"):
        parameters.setdefault("original_max_position_embeddings", config.get("max_position_embeddings"))
    return parameters


class RotaryTable:
    """Rows of cos and sin, [1, width] per position, in the form `x * cos + roll(x, width / 2) * sin`."""

    def __init__(self, config: RopeConfig, dtype: torch.dtype, device: torch.device) -> None:
        self._frequencies, self._scale = _frequencies(config)
        self._dtype, self._device = dtype, device
        width = 2 * self._frequencies.numel()
        self._table = torch.empty(0, 2, width, dtype=dtype, device=device)  # cos and sin: one launch gathers both

    def rows(self, positions: Tensor, highest: int) -> tuple[Tensor, Tensor]:
        """cos and sin [tokens, 1, width] of positions [tokens], none above `highest`; the last dimension is dense."""
        while highest >= self._table.shape[0]:
            self._grow()
        both = self._table.index_select(0, positions)
        return both[:, :1], both[:, 1:]

    def _grow(self) -> None:
        start = self._table.shape[0]
        angles = torch.outer(torch.arange(start, start + BLOCK).float(), self._frequencies)
        cos, sin = angles.cos() * self._scale, angles.sin() * self._scale
        # rotate_half negates the upper half and swaps the two; the sign is folded into the table
        both = torch.stack([torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)], 1)
        self._table = torch.cat([self._table, both.to(dtype=self._dtype, device=self._device)])


def _frequencies(config: RopeConfig) -> tuple[Tensor, float]:
    """Inverse frequencies [width / 2] and the factor on cos and sin."""
    parameters = config.rope_parameters
    if parameters["rope_type"] == "default":
        exponents = torch.arange(0, config.head_dim, 2, dtype=torch.int64).float() / config.head_dim
        return 1.0 / (parameters["rope_theta"] ** exponents), 1.0
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    frequencies, scale = ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config, torch.device("cpu"))
    return frequencies.float(), float(scale)
