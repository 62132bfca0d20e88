"""Which transformers models cannot be served over pages, and why: what a config alone can tell.

Whatever passes here is still compared with its own stock attention at load (`selfcheck`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pie_core.errors import UnsupportedError

SERVED_LAYERS = {"full_attention", "sliding_attention"}
MOST_LOOKED_UP = 1 << 24  # numbers in an embedding table that transformers may search for a token's row
_LAYER_REASONS = {
    "chunked_attention": "attends within chunks of the sequence, which pages do not know",
    "linear_attention": "keeps a recurrent state, which pages do not hold",
    "conv": "keeps a recurrent state, which pages do not hold",
    "recurrent": "keeps a recurrent state, which pages do not hold",
    "mamba": "keeps a recurrent state, which pages do not hold",
}
_CAUSAL = ("CausalLM", "LMHead", "ConditionalGeneration")


def check_family(config: Any, where: str) -> None:
    """Raise `UnsupportedError` if this transformers config names something that pages cannot do."""
    reason = _reason(config)
    if reason is not None:
        raise UnsupportedError(f"{where}: a {config.model_type} model cannot be served: {reason}")


def replaceable_attention(config: Any) -> bool:
    """Whether transformers says that other attention fits in. Where it does not, one may fit: only a run tells."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    sees = hasattr(config, "vision_config")
    made = (MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING if sees else MODEL_FOR_CAUSAL_LM_MAPPING).get(type(config), None)
    return bool(getattr(made, "_supports_attention_backend", False))


def position_limit(config: Any) -> int:
    """How many positions the model has, fewer where the last ones would depend on the rest of the batch."""
    text = config.get_text_config()
    limits = [int(getattr(text, "max_position_embeddings", None) or 131072)]
    # longrope changes all frequencies once any sequence passes this length
    limits += [
        int(rope["original_max_position_embeddings"]) for rope in _ropes(text) if rope.get("rope_type") == "longrope"
    ]
    return min(limits)


def _reason(config: Any) -> str | None:
    if getattr(config, "is_encoder_decoder", False):
        return "it is an encoder-decoder; only decoders are"
    architectures = getattr(config, "architectures", None) or []
    if architectures and not any(kind in name for name in architectures for kind in _CAUSAL):
        return f"{architectures[0]} is not a causal language model"
    method = getattr(config, "quantization_config", None)
    if method:
        kind = method.get("quant_method", "unknown") if isinstance(method, dict) else type(method).__name__
        return f"its weights are quantized ({kind}); take a checkpoint in bfloat16 or float32"
    text = config.get_text_config()
    for kind in getattr(text, "layer_types", None) or ():
        if kind not in SERVED_LAYERS:
            return f"a layer of type {kind!r} {_LAYER_REASONS.get(kind, 'is unknown here')}"
    if getattr(text, "hidden_size_per_layer_input", 0) and text.vocab_size * text.hidden_size > MOST_LOOKED_UP:
        return (
            "its per-layer inputs need token ids, which Embeds do not carry, and its table is too large to find them in"
        )
    if any("dynamic" in str(rope.get("rope_type")) for rope in _ropes(text)):
        return "its dynamic rope depends on the longest sequence seen, so results would depend on the batch"
    return None


def _ropes(config: Any) -> Iterator[dict[str, Any]]:
    """The rope parameters, of every layer type where they differ."""
    parameters = getattr(config, "rope_parameters", None) or {}
    if "rope_type" in parameters:
        yield parameters
    else:
        yield from (entry for entry in parameters.values() if isinstance(entry, dict))
