"""The decoder inside a checkpoint that can do more than text, as a checkpoint of its own for the lean path.

Vision-language models of the plainest build (LLaVA, Idefics3, SmolVLM) are a vision tower in front of an unchanged
Llama-like decoder. Their config.json has that decoder's own in `text_config`, and its tensors under another name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pie_backend_torch.checkpoint import Checkpoint

COMPOSITES = ("llava", "idefics3", "smolvlm")
_PREFIXES = (  # of names in the file, and what the decoder calls it; transformers has changed its mind over the years
    ("language_model.model.", "model."),
    ("language_model.lm_head.", "lm_head."),
    ("model.language_model.", "model."),
    ("model.text_model.", "model."),
    ("lm_head.", "lm_head."),
)


def text_part(checkpoint: Checkpoint) -> Checkpoint:
    """The decoder of a composite checkpoint; any other checkpoint is returned as it is."""
    text = checkpoint.config.get("text_config")
    if checkpoint.config.get("model_type") not in COMPOSITES or not isinstance(text, Mapping):
        return checkpoint
    tensors = {}
    for name, facts in checkpoint.tensors.items():
        for prefix, own in _PREFIXES:
            if name.startswith(prefix):
                tensors[own + name.removeprefix(prefix)] = facts
                break
    config: dict[str, Any] = {**text, "tie_word_embeddings": "lm_head.weight" not in tensors}
    return replace(checkpoint, config=config, tensors=tensors)
