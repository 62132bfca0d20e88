"""Which checkpoints the lean path covers exactly, read off config.json alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pie_backend_torch.checkpoint import FETCH
from pie_backend_torch.rotary import SUPPORTED, RopeConfig, rope_parameters
from pie_core.errors import CheckpointError

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
SHAPING = {  # keys that this file reads
    *("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "hidden_act", "rms_norm_eps", "max_position_embeddings", "rope_theta"),
    *("rope_scaling", "rope_parameters", "original_max_position_embeddings", "tie_word_embeddings", "attention_bias"),
    *("mlp_bias", "sliding_window", "use_sliding_window", "max_window_layers", "layer_types"),
}
REQUIRED = (  # without them the family's own defaults count, which transformers knows
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "rms_norm_eps", "max_position_embeddings"),
)
HARMLESS = {  # keys that say nothing about inference
    *(
        "architectures",
        "dtype",
        "torch_dtype",
        "transformers_version",
        "use_cache",
        "attention_dropout",
        "_name_or_path",
    ),
    *("initializer_range", "bos_token_id", "eos_token_id", "pad_token_id", "pretraining_tp", "sliding_window_pattern"),
    *("return_dict", "output_hidden_states", "output_attentions", "id2label", "label2id", "problem_type"),
    *("chunk_size_feed_forward", "is_encoder_decoder", "name_or_path", "unsloth_version", "_attn_implementation"),
    *("is_llama_config", "rope_interleaved", "auto_map"),
}


@dataclass(frozen=True)
class LeanConfig:
    """The shape of a Llama-like decoder."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    norm_eps: float
    max_position: int
    tied_head: bool
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    head_norms: bool
    windows: tuple[int | None, ...]  # sliding window of each layer
    rope: RopeConfig


def why_not(config: Mapping[str, Any]) -> str | None:
    """What keeps the lean path from covering this config exactly; None if nothing does."""
    family = config.get("model_type")
    if family not in FAMILIES:
        return f"model type {family!r} is not one of {', '.join(FAMILIES)}"
    required = REQUIRED + {"mistral": ("sliding_window",), "qwen3": ("head_dim",)}.get(str(family), ())
    missing = [key for key in required if key not in config]
    if missing:
        return f"the config does not say {missing[0]!r}"
    unknown = sorted(key for key in config.keys() - SHAPING - HARMLESS if config[key] not in (None, False))
    if unknown:
        return f"the config has {unknown[0]!r}, which the lean path does not know"
    if config.get("hidden_act", "silu") not in ("silu", "swish"):
        return f"activation {config['hidden_act']!r} is not silu"
    rope = rope_parameters(config)
    if rope["rope_type"] not in SUPPORTED:
        return f"rope type {rope['rope_type']!r} is not one of {', '.join(SUPPORTED)}"
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        return "rotary positions cover a part of each head only"
    kinds = set(config.get("layer_types") or ()) - {"full_attention", "sliding_attention"}
    if kinds:
        return f"layers of type {sorted(kinds)[0]!r}"
    return None


def read_config(config: Mapping[str, Any], where: str) -> LeanConfig:
    """The shape in a config that `why_not` had nothing against. Raises `CheckpointError` for numbers that make none."""
    found = _read(config, where)
    if found.heads % found.kv_heads:
        raise CheckpointError(
            f"{where}: {found.heads} query heads (num_attention_heads) cannot share {found.kv_heads} key heads "
            f"(num_key_value_heads) evenly; {FETCH}"
        )
    if found.head_width % 2:
        raise CheckpointError(
            f"{where}: rotary positions turn halves of a head, and it is {found.head_width} wide; {FETCH}"
        )
    return found


def _read(config: Mapping[str, Any], where: str) -> LeanConfig:
    try:
        family, hidden, heads = config["model_type"], int(config["hidden_size"]), int(config["num_attention_heads"])
        layers, width = int(config["num_hidden_layers"]), config.get("head_dim") or hidden // heads
        positions = int(config["max_position_embeddings"])
        bias = bool(config.get("attention_bias", False)) and family in ("llama", "qwen3")
        return LeanConfig(
            vocab_size=int(config["vocab_size"]),
            hidden_size=hidden,
            intermediate_size=int(config["intermediate_size"]),
            layers=layers,
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_width=int(width),
            norm_eps=float(config["rms_norm_eps"]),
            max_position=positions,
            tied_head=bool(config.get("tie_word_embeddings", False)),
            qkv_bias=family == "qwen2" or bias,
            output_bias=bias,
            mlp_bias=bool(config.get("mlp_bias", False)) and family == "llama",
            head_norms=family == "qwen3",
            windows=_windows(config, layers),
            rope=RopeConfig(rope_parameters(config), int(width), hidden, heads, positions),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: a field is missing or of the wrong type ({error!r})") from error


def _windows(config: Mapping[str, Any], layers: int) -> tuple[int | None, ...]:
    """The sliding window of each layer, by the rules of the family's config class in transformers."""
    family, window = config["model_type"], config.get("sliding_window")
    if window is None or family == "llama":
        return (None,) * layers
    if family == "mistral":
        return (int(window),) * layers
    if not config.get("use_sliding_window", False):
        return (None,) * layers
    first = config.get("max_window_layers", 28)
    kinds = config.get("layer_types") or ["full_attention" if i < first else "sliding_attention" for i in range(layers)]
    return tuple(int(window) if kind == "sliding_attention" else None for kind in kinds)
