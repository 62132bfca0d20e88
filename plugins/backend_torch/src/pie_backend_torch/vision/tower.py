"""The tower of a checkpoint whose decoder runs on the lean path: transformers' model with an empty decoder in it."""

from __future__ import annotations

from typing import Any

import torch

from pie_backend_torch.checkpoint import Checkpoint
from pie_backend_torch.silence import quiet
from pie_core.errors import CheckpointError, UnsupportedError

LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
_OF_THE_DECODER = ("language_model.", "model.language_model.", "text_model.", "model.text_model.", "lm_head.")


def load_tower(checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device) -> Any:
    """A model with `get_image_features` and without a decoder. Raises `CheckpointError` or `UnsupportedError`."""
    from transformers import AutoModelForImageTextToText

    config = read_config(checkpoint)
    text = config.get_text_config()
    text.num_hidden_layers, text.vocab_size, text.pad_token_id = 0, 8, None
    if getattr(text, "layer_types", None):
        text.layer_types = []
    load: Any = AutoModelForImageTextToText.from_pretrained
    try:
        with quiet():
            model, report = load(
                str(checkpoint.path),
                config=config,
                dtype=dtype,
                ignore_mismatched_sizes=True,  # the embedding table of the decoder, which is thrown away
                output_loading_info=True,
                **LOCAL,
            )
    except Exception as error:  # transformers raises anything here
        raise UnsupportedError(
            f"transformers cannot load its vision tower ({type(error).__name__}: {error})"
        ) from error
    problems = {*map(str, report["missing_keys"]), *(str(entry[0]) for entry in report["mismatched_keys"])}
    wrong = sorted(name for name in problems if not name.startswith(_OF_THE_DECODER))
    if wrong:
        raise CheckpointError(
            f"{checkpoint.path}: the weights of the vision tower do not fit config.json: {wrong[0]} ({len(wrong)} in "
            "all); use config and weights of the same model"
        )
    seeing = model.model
    for name in ("language_model", "text_model"):
        if hasattr(seeing, name):
            delattr(seeing, name)
    return seeing.to(device).eval()


def read_config(checkpoint: Checkpoint) -> Any:
    """config.json as transformers has it. Raises `UnsupportedError`."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(checkpoint.path), **LOCAL)
    except Exception as error:  # whatever transformers' config classes raise
        raise UnsupportedError(f"transformers cannot read its config.json ({type(error).__name__}: {error})") from error
