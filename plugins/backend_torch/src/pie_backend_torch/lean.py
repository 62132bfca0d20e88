"""The Llama family, hand-written: the same mathematics as transformers' modules at a third of the launches.

Covers llama, mistral, qwen2 and qwen3 checkpoints whose config holds nothing this file does not know; `why_not` says
what stands in the way of any other, which then takes the generic path. Imports no model class of transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pie_backend_torch.adapters import Adapters
from pie_backend_torch.attention import Flavour, attend
from pie_backend_torch.lean_config import LeanConfig
from pie_backend_torch.linear import Linear, LinearMaker
from pie_backend_torch.pool import KvPool, LayerShape
from pie_backend_torch.rotary import RotaryTable
from pie_backend_torch.rows import pad_rows
from pie_backend_torch.step import Step

Read = Callable[[str], Tensor]


@dataclass(frozen=True, slots=True)
class Layer:
    """Weights of one block. Norms are [hidden]; those of single heads, if the family has them, [head width]."""

    attention_norm: Tensor
    query_key_value: Linear
    query_norm: Tensor | None
    key_norm: Tensor | None
    output: Linear
    mlp_norm: Tensor
    gate: Linear
    up: Linear
    down: Linear
    flavour: Flavour


class LeanDecoder:
    """A Llama-like decoder over the pool. See `decoder.Decoder`."""

    implementation = "lean"
    seeing = None

    def __init__(
        self, config: LeanConfig, read: Read, dtype: torch.dtype, device: torch.device, adapters: Adapters
    ) -> None:
        self.vocab_size, self.hidden_size = config.vocab_size, config.hidden_size
        self.max_position = config.max_position
        self.dtype, self.device = dtype, device
        shape = LayerShape(config.kv_heads, config.head_width, config.head_width)
        self.layers = (shape,) * config.layers
        self._config = config
        self._eps = config.norm_eps
        self._table = read("model.embed_tokens.weight")
        self._norm = read("model.norm.weight")
        maker = LinearMaker()
        self._blocks = [_read_layer(config, read, maker, adapters, index) for index in range(config.layers)]
        self._head = maker.make(self._table if config.tied_head else read("lm_head.weight"))
        self._rotary = RotaryTable(config.rope, dtype, device)

    def embed(self, ids: Tensor) -> Tensor:
        return self._table.index_select(0, ids)

    def hidden(self, x: Tensor, step: Step, pool: KvPool) -> Tensor:
        count, x = x.shape[0], pad_rows(x)
        cos, sin = self._rotary.rows(pad_rows(step.positions), step.highest)
        size = (self.hidden_size,)
        for index, layer in enumerate(self._blocks):
            normed = functional.rms_norm(x, size, layer.attention_norm, self._eps)
            x = layer.output.add(self._attend(index, layer, normed, cos, sin, step, pool), x)
            normed = functional.rms_norm(x, size, layer.mlp_norm, self._eps)
            x = layer.down.add(layer.up.mul(normed, layer.gate.silu(normed)), x)
        return functional.rms_norm(x, size, self._norm, self._eps)[:count]

    def logits(self, hidden: Tensor) -> Tensor:
        return self._head(pad_rows(hidden))[: hidden.shape[0]].float()

    def _attend(
        self, index: int, layer: Layer, x: Tensor, cos: Tensor, sin: Tensor, step: Step, pool: KvPool
    ) -> Tensor:
        heads, kv_heads, width = self._config.heads, self._config.kv_heads, self._config.head_width
        both = heads + kv_heads
        joined = layer.query_key_value(x).view(-1, both + kv_heads, width)
        turned = joined[:, :both]
        if layer.query_norm is not None and layer.key_norm is not None:
            query = functional.rms_norm(joined[:, :heads], (width,), layer.query_norm, self._eps)
            key = functional.rms_norm(joined[:, heads:both], (width,), layer.key_norm, self._eps)
            turned = torch.cat([query, key], 1)
        turned = turned * cos + turned.roll(width // 2, -1) * sin
        out = attend(step, pool, index, turned[:, :heads], turned[:, heads:], joined[:, both:], layer.flavour)
        return out.reshape(-1, heads * width)


def _read_layer(config: LeanConfig, read: Read, maker: LinearMaker, adapters: Adapters, index: int) -> Layer:
    prefix = f"model.layers.{index}."

    def linear(*names: str, bias: bool) -> Linear:
        weights = [read(f"{prefix}{name}.weight") for name in names]
        biases = [read(f"{prefix}{name}.bias") for name in names] if bias else []
        made = maker.make(joined(weights), joined(biases) if bias else None)
        return adapters.on_linear(made, [prefix + name for name in names], [weight.shape[0] for weight in weights])

    def joined(tensors: list[Tensor]) -> Tensor:
        return tensors[0] if len(tensors) == 1 else torch.cat(tensors)

    def norm(name: str) -> Tensor:
        return read(f"{prefix}{name}.weight")

    attention = [f"self_attn.{part}_proj" for part in "qkv"]
    return Layer(
        attention_norm=norm("input_layernorm"),
        query_key_value=linear(*attention, bias=config.qkv_bias),
        query_norm=norm("self_attn.q_norm") if config.head_norms else None,
        key_norm=norm("self_attn.k_norm") if config.head_norms else None,
        output=linear("self_attn.o_proj", bias=config.output_bias),
        mlp_norm=norm("post_attention_layernorm"),
        gate=linear("mlp.gate_proj", bias=config.mlp_bias),
        up=linear("mlp.up_proj", bias=config.mlp_bias),
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
