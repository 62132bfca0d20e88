"""The Llama family, hand-written: the same mathematics as transformers' modules at a third of the launches.

Covers llama, mistral, qwen2 and qwen3 checkpoints whose config holds nothing this file does not know; `why_not` says
what stands in the way of any other, which then takes the generic path. Imports no model class of transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pie_backend_torch.adapters import Adapters
from pie_backend_torch.kernels import Flavour, Gated, Kernels, Norm, QueryKeyValue, Turning
from pie_backend_torch.lean_config import LeanConfig
from pie_backend_torch.linear import Linear
from pie_backend_torch.pool import KvPool, LayerShape
from pie_backend_torch.rotary import RotaryTable
from pie_backend_torch.step import Step

Read = Callable[[str], Tensor]


@dataclass(frozen=True, slots=True)
class Layer:
    """One block."""

    query_key_value: QueryKeyValue
    output: Linear
    gated: Gated
    down: Linear
    flavour: Flavour


class LeanDecoder:
    """A Llama-like decoder over the pool, on the kernels it is given. See `decoder.Decoder`."""

    implementation = "lean"
    seeing = None

    def __init__(
        self,
        config: LeanConfig,
        read: Read,
        dtype: torch.dtype,
        device: torch.device,
        adapters: Adapters,
        kernels: Kernels,
    ) -> None:
        self.vocab_size, self.hidden_size = config.vocab_size, config.hidden_size
        self.max_position = config.max_position
        self.kernels = kernels
        self.dtype, self.device = dtype, device
        shape = LayerShape(config.kv_heads, config.head_width, config.head_width)
        self.layers = (shape,) * config.layers
        self._table = read("model.embed_tokens.weight")
        self._blocks = [_read_layer(config, read, kernels, adapters, index) for index in range(config.layers)]
        self._norm = Norm(read("model.norm.weight"), config.norm_eps)
        self._head = kernels.linear(self._table if config.tied_head else read("lm_head.weight"), None)
        self._rotary = RotaryTable(config.rope, dtype, device)

    def embed(self, ids: Tensor) -> Tensor:
        return self._table.index_select(0, ids)

    def hidden(self, x: Tensor, step: Step, pool: KvPool) -> Tensor:
        kernels, count, x = self.kernels, x.shape[0], self.kernels.pad(x)
        cos, sin = self._rotary.rows(kernels.pad(step.positions), step.highest)
        for index, layer in enumerate(self._blocks):
            query, key, value = layer.query_key_value(x, cos, sin, step, pool, index)
            out = step.plan.attend(pool, index, query, key, value, layer.flavour).flatten(1)
            x = layer.output.add(out, x)
            x = layer.down.add(layer.gated(x), x)
        return kernels.norm(x, self._norm)[:count]

    def logits(self, hidden: Tensor) -> Tensor:
        return self.kernels.scores(self._head, hidden)


def _read_layer(config: LeanConfig, read: Read, kernels: Kernels, adapters: Adapters, index: int) -> Layer:
    prefix = f"model.layers.{index}."

    def linear(*names: str, bias: bool) -> Linear:
        weights = [read(f"{prefix}{name}.weight") for name in names]
        biases = [read(f"{prefix}{name}.bias") for name in names] if bias else []
        made = kernels.linear(joined(weights), joined(biases) if bias else None)
        return adapters.on_linear(made, [prefix + name for name in names], [weight.shape[0] for weight in weights])

    def joined(tensors: list[Tensor]) -> Tensor:
        return tensors[0] if len(tensors) == 1 else torch.cat(tensors)

    def norm(name: str) -> Norm:
        return Norm(read(f"{prefix}{name}.weight"), config.norm_eps)

    norms = (norm("self_attn.q_norm"), norm("self_attn.k_norm")) if config.head_norms else None
    return Layer(
        query_key_value=kernels.query_key_value(
            norm("input_layernorm"),
            linear(*[f"self_attn.{part}_proj" for part in "qkv"], bias=config.qkv_bias),
            Turning(config.heads, config.kv_heads, config.head_width, norms),
        ),
        output=linear("self_attn.o_proj", bias=config.output_bias),
        gated=kernels.gated(
            norm("post_attention_layernorm"), partial(linear, bias=config.mlp_bias), "mlp.gate_proj", "mlp.up_proj"
        ),
        down=linear("mlp.down_proj", bias=config.mlp_bias),
        flavour=Flavour(window=config.windows[index]),
    )


def expected_tensors(config: LeanConfig) -> Mapping[str, tuple[int, ...]]:
    """Name and shape of every tensor that a checkpoint of this config must have."""
    hidden, inner, width = config.hidden_size, config.intermediate_size, config.head_width
    q, kv = config.heads * width, config.kv_heads * width
    matrices = {
        "self_attn.q_proj": (q, hidden, config.qkv_bias),
        "self_attn.k_proj": (kv, hidden, config.qkv_bias),
        "self_attn.v_proj": (kv, hidden, config.qkv_bias),
        "self_attn.o_proj": (hidden, q, config.output_bias),
        "mlp.gate_proj": (inner, hidden, config.mlp_bias),
        "mlp.up_proj": (inner, hidden, config.mlp_bias),
        "mlp.down_proj": (hidden, inner, config.mlp_bias),
    }
    norms: dict[str, Any] = {"input_layernorm": hidden, "post_attention_layernorm": hidden}
    if config.head_norms:
        norms |= {"self_attn.q_norm": width, "self_attn.k_norm": width}
    expected: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocab_size, hidden)}
    expected["model.norm.weight"] = (hidden,)
    if not config.tied_head:
        expected["lm_head.weight"] = (config.vocab_size, hidden)
    for index in range(config.layers):
        prefix = f"model.layers.{index}."
        expected |= {f"{prefix}{name}.weight": (size,) for name, size in norms.items()}
        for name, (rows, columns, bias) in matrices.items():
            expected[f"{prefix}{name}.weight"] = (rows, columns)
            if bias:
                expected[f"{prefix}{name}.bias"] = (rows,)
    return expected


def adaptable_layers(config: LeanConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every linear layer that an adapter may have terms for."""
    shapes = expected_tensors(config)
    return {name.removesuffix(".weight"): shape for name, shape in shapes.items() if name.endswith("_proj.weight")}
