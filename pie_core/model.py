"""What is known of a model: where it lies (`ModelSpec`, before loading) and what it is (`ModelInfo`, after)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModelSpec:
    """A checkpoint directory on disk: config, safetensors and tokenizer in the Hugging Face layout.

    default: use this one where several models are installed and nobody names one.
    """

    name: str
    path: Path
    description: str = ""
    version: str = "0"
    license: str = "unknown"
    default: bool = False


@dataclass(frozen=True)
class ModelInfo:
    """A loaded model as inferlets and the control layer see it. Counts are in tokens."""

    name: str
    vocab_size: int
    max_position: int
    kvpage_size: int
    description: str = ""
    version: str = "0"
    license: str = "unknown"
    prompt_template: str = ""  # Jinja source of the chat template, in the Hugging Face convention; "" if none
    bos_token: int | None = None  # the token a fresh context starts with, if the tokenizer would add one
    eos_tokens: tuple[int, ...] = ()  # tokens that end an answer
    special_tokens: tuple[int, ...] = ()  # tokens that are no text, but for those named above (roles, padding)
    adapters: tuple[str, ...] = ()  # names of the LoRA adapters that were loaded beside it
