"""From a checkpoint to what it sees with, or the reason why it does not see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from pie_backend_torch.checkpoint import Checkpoint
from pie_backend_torch.decoder import Decoder
from pie_backend_torch.silence import quiet
from pie_backend_torch.tokenizer import Tokenizer
from pie_backend_torch.vision.family import Family, Parts
from pie_backend_torch.vision.fixed import Gemma3, Llava, PaliGemma
from pie_backend_torch.vision.gridded import Gridded
from pie_backend_torch.vision.seeing import Limits
from pie_backend_torch.vision.tiled import Tiled
from pie_backend_torch.vision.tower import LOCAL, load_tower, read_config
from pie_core.errors import UnsupportedError

FAMILIES: dict[str, type[Family]] = {
    "llava": Llava,
    "paligemma": PaliGemma,
    "gemma3": Gemma3,
    "idefics3": Tiled,
    "smolvlm": Tiled,
    "qwen2_vl": Gridded,
    "qwen2_5_vl": Gridded,
}
_PROCESSOR = ("preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True)
class Sight:
    """What is needed to open the eyes of a model that was loaded."""

    checkpoint: Checkpoint
    limits: Limits

    def family(self) -> type[Family]:
        """What it will see through, told from its files alone. Raises `UnsupportedError` if it does not."""
        check_sees(self.checkpoint)
        return FAMILIES[str(self.checkpoint.config["model_type"])]

    def open(self, decoder: Decoder, tokenizer: Tokenizer) -> Family:
        """Load what is still to be loaded. Raises `UnsupportedError` or `CheckpointError`."""
        with torch.no_grad():
            model = decoder.seeing or load_tower(self.checkpoint, decoder.dtype, decoder.device)
            return open_family(self.checkpoint, model, tokenizer)


def check_sees(checkpoint: Checkpoint) -> None:
    """Raise `UnsupportedError` with the reason if this checkpoint cannot see, or not here."""
    family = checkpoint.config.get("model_type")
    if "vision_config" not in checkpoint.config:
        raise UnsupportedError(f"the model has no vision tower (a {family} model)")
    if family not in FAMILIES:
        raise UnsupportedError(f"images of {family} models are not served; those of {', '.join(FAMILIES)} are")
    if not any((checkpoint.path / name).is_file() for name in _PROCESSOR):
        raise UnsupportedError(
            f"{checkpoint.path} has no {_PROCESSOR[0]}; copy the model's image processor there (save_pretrained)"
        )


def open_family(checkpoint: Checkpoint, model: Any, tokenizer: Tokenizer) -> Family:
    """The family of a checkpoint that passed `check_sees`. model: has `get_image_features`."""
    parts = Parts(
        model, read_config(checkpoint), _read_processor(checkpoint), checkpoint.optional_json(_PROCESSOR[1]), tokenizer
    )
    return FAMILIES[str(checkpoint.config["model_type"])](parts)


def _read_processor(checkpoint: Checkpoint) -> Any:
    from transformers import AutoImageProcessor

    try:
        with quiet():
            read: Any = AutoImageProcessor.from_pretrained
            return read(str(checkpoint.path), backend="pil", **LOCAL)
    except Exception as error:  # transformers raises anything here
        raise UnsupportedError(
            f"transformers cannot read its image processor ({type(error).__name__}: {error!s:.200})"
        ) from error
