"""The whole model and its processor: an untrained vision tower and projector before a language model."""

import tempfile
from pathlib import Path

import torch
from pictures.canvas import SIDE
from tokenizer import CHAT_TEMPLATE, IMAGE_TOKEN, wrapped
from tokenizers import Tokenizer
from transformers import (
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessor,
    SiglipVisionConfig,
)

PATCH = 12  # pixels of a patch each way
IMAGE_TOKENS = (SIDE // PATCH) ** 2


def build_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    square = {"height": SIDE, "width": SIDE}  # the crop changes nothing; LlavaProcessor counts image tokens by it
    return LlavaProcessor(
        SiglipImageProcessor(size=square, crop_size=square),
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="full",
        image_token=IMAGE_TOKEN,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(processor: LlavaProcessor, language: LlamaForCausalLM, device: str) -> LlavaForConditionalGeneration:
    """In float32, whatever `language` is in; its weights are copied."""
    vision = SiglipVisionConfig(
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
        vision_use_head=False,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=language.config,
        image_token_index=processor.image_token_id,
        image_seq_length=IMAGE_TOKENS,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.tie_weights()
    model.generation_config = language.generation_config
    # On a CPU plain products are faster than its fused attention's backward pass.
    model.set_attn_implementation("eager" if device == "cpu" else "sdpa")
    return model.to(device)  # type: ignore[arg-type]  # transformers wraps `to`


def read_language(folder: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """The language model of a saved checkpoint by itself, in float32, and its tokenizer."""
    whole = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    language = LlamaForCausalLM(whole.config.text_config)
    language.model.load_state_dict(whole.model.language_model.state_dict())
    language.tie_weights()
    language.generation_config = whole.generation_config
    return language, wrapped(Tokenizer.from_file(str(folder / "tokenizer.json")))


def save(model: LlavaForConditionalGeneration, processor: LlavaProcessor, folder: Path) -> None:
    """Write bfloat16 weights beside the old files, then rename: a reader sees whole files only."""
    copy = LlavaForConditionalGeneration(model.config)
    copy.load_state_dict(model.state_dict())
    copy.generation_config = model.generation_config
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        copy.bfloat16().save_pretrained(temporary)
        processor.save_pretrained(temporary)
        for file in Path(temporary).iterdir():
            file.chmod(0o644)
            file.replace(folder / file.name)
