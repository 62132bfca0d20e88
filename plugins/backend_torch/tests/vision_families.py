"""Tiny random checkpoints of families that see, each with the processor class that is its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

SPECIALS = (
    "<pad>",
    "</s>",
    "<image>",
    "<fake_token_around_image>",
    "<global-img>",
    "<begin>",
    "<end>",
    "<vision>",
    "<video>",
)
SPECIALS = (*SPECIALS, *(f"<row_{row + 1}_col_{column + 1}>" for row in range(4) for column in range(4)))
ID = {token: place for place, token in enumerate(SPECIALS)}
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
TEXT: dict[str, Any] = {
    "vocab_size": len(SPECIALS) + len(BYTES),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
SIGLIP = TOWER | {"model_type": "siglip_vision_model", "vision_use_head": False}
GEMMA = TEXT | {"head_dim": 8}
QWEN_TOWER = {"depth": 2, "num_heads": 2, "patch_size": 8, "spatial_merge_size": 2, "temporal_patch_size": 2}
QWEN_2_5_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "out_hidden_size": 32,
    "window_size": 32,
    "fullatt_block_indexes": [1],
}
MROPE = {"rope_type": "default", "type": "mrope", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
CONFIGS: dict[str, dict[str, Any]] = {
    "llava": {
        "vision_config": SIGLIP,
        "text_config": TEXT | {"model_type": "llama"},
        "image_token_index": ID["<image>"],
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
    },
    "llava-clip": {
        "vision_config": TOWER | {"model_type": "clip_vision_model"},
        "text_config": TEXT | {"model_type": "qwen2"},
        "image_token_index": ID["<image>"],
    },
    "idefics3": {
        "vision_config": TOWER | {"model_type": "idefics3_vision"},
        "text_config": TEXT | {"model_type": "llama"},
        "image_token_id": ID["<image>"],
        "scale_factor": 2,
    },
    "smolvlm": {
        "vision_config": TOWER | {"model_type": "smolvlm_vision"},
        "text_config": TEXT | {"model_type": "llama"},
        "image_token_id": ID["<image>"],
        "scale_factor": 2,
    },
    "gemma3": {
        "vision_config": SIGLIP,
        "text_config": GEMMA | {"model_type": "gemma3_text", "sliding_window": 6, "query_pre_attn_scalar": 8},
        "mm_tokens_per_image": 16,  # more than the sliding window
        "boi_token_index": ID["<begin>"],
        "eoi_token_index": ID["<end>"],
        "image_token_index": ID["<image>"],
    },
    "paligemma": {
        "vision_config": SIGLIP | {"projection_dim": 32},
        "text_config": GEMMA | {"model_type": "gemma"},
        "image_token_index": ID["<image>"],
        "projection_dim": 32,
    },
    "qwen2_vl": {
        "vision_config": QWEN_TOWER | {"embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2},
        "text_config": TEXT | {"rope_parameters": MROPE},
        "image_token_id": ID["<image>"],
        "video_token_id": ID["<video>"],
        "vision_start_token_id": ID["<vision>"],
    },
    "qwen2_5_vl": {
        "vision_config": QWEN_TOWER | QWEN_2_5_TOWER,
        "text_config": TEXT | {"rope_parameters": MROPE},
        "image_token_id": ID["<image>"],
        "video_token_id": ID["<video>"],
        "vision_start_token_id": ID["<vision>"],
    },
}  # fmt: skip


def tokenizer_of(family: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate([*SPECIALS, *BYTES])}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    named = {"boi_token": "<begin>", "eoi_token": "<end>", "image_token": "<image>"} if family == "gemma3" else {}
    if family == "paligemma" or family.startswith(("qwen", "llava")):
        named = {"image_token": "<image>"}
    if family.startswith("qwen"):
        named["video_token"] = "<video>"
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="</s>", bos_token="</s>", pad_token="<pad>", extra_special_tokens=named
    )


class QwenProcessor:
    """What Qwen2VLProcessor does with images; the class itself wants a package for video."""

    def __init__(self, image_processor: Any, tokenizer: Any) -> None:
        self.image_processor, self.tokenizer = image_processor, tokenizer

    def __call__(self, text: str, images: Sequence[Any], return_tensors: str) -> dict[str, Any]:
        seen = self.image_processor(images=images, return_tensors="pt")
        first, *pieces = text.split("<image>")
        for grid, piece in zip(seen["image_grid_thw"].tolist(), pieces, strict=True):
            first += "<image>" * (grid[0] * grid[1] * grid[2] // 4) + piece
        ids = self.tokenizer(first, return_tensors="pt")
        return {**ids, **seen, "mm_token_type_ids": (ids["input_ids"] == ID["<image>"]).int()}


def processor_of(family: str) -> Any:
    """The family's own processor, over a processor for tiny images."""
    import transformers as t
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    tokenizer, square = tokenizer_of(family), {"height": 32, "width": 32}
    tiles = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    if family == "llava":
        images = SiglipImageProcessorPil(size=square)
        images.crop_size = square
        return t.LlavaProcessor(images, tokenizer, patch_size=8, vision_feature_select_strategy="full")
    if family == "llava-clip":
        images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square)
        return t.LlavaProcessor(
            images,
            tokenizer,
            patch_size=8,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
        )
    if family == "idefics3":
        return t.Idefics3Processor(Idefics3ImageProcessorPil(**tiles), tokenizer, image_seq_len=4)
    if family == "smolvlm":
        # its own class wants packages for video, and writes the same
        return t.Idefics3Processor(SmolVLMImageProcessorPil(**tiles), tokenizer, image_seq_len=4)
    if family == "gemma3":
        return t.Gemma3Processor(Gemma3ImageProcessorPil(size=square), tokenizer, image_seq_length=16)
    if family == "paligemma":
        images = SiglipImageProcessorPil(size=square)
        images.image_seq_length = 16
        return t.PaliGemmaProcessor(images, tokenizer)
    images = Qwen2VLImageProcessorPil(
        patch_size=8, merge_size=2, size={"shortest_edge": 16 * 16 * 2, "longest_edge": 16 * 16 * 20}
    )
    return QwenProcessor(images, tokenizer)


def write(path: Path, family: str) -> Path:
    from transformers import AutoConfig, AutoModelForImageTextToText

    torch.manual_seed(0)
    config = AutoConfig.for_model(family.partition("-")[0], tie_word_embeddings=False, **CONFIGS[family])
    model = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2 and not parameter.any():  # a projector that would hide what is seen
                parameter.normal_(0.0, 0.3)
            elif parameter.dim() >= 2:
                parameter.mul_(4.0)
    model.save_pretrained(path)
    processor = processor_of(family)
    processor.tokenizer.save_pretrained(path)
    processor.image_processor.save_pretrained(path)
    return path
