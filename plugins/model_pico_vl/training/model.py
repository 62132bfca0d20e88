"""The model and its processor: a vision tower trained from nothing before pico's own language model and tokenizer."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from pico import PICO_CHECKPOINT
from pictures.canvas import SIDE
from tokenizer import END, PAD
from tokenizers import Tokenizer
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
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
IMAGE_TOKEN = "<|image|>"  # noqa: S105 - one that pico's tokenizer has kept free
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('pico-vl knows the roles system, user and assistant, not ' + message['role']) }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% elif part['type'] in ['image', 'image_url'] %}{{ '<|image|>' }}"
    "{% else %}{{ raise_exception('pico-vl reads text and images, not ' + part['type']) }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ '</s>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def build_processor() -> LlavaProcessor:
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer.from_file(str(PICO_CHECKPOINT / "tokenizer.json")),
        eos_token=END,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
    )
    square = {"height": SIDE, "width": SIDE}  # the crop changes nothing; LlavaProcessor counts image tokens by it
    return LlavaProcessor(
        SiglipImageProcessor(size=square, crop_size=square),
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="full",
        image_token=IMAGE_TOKEN,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(processor: LlavaProcessor, device: str) -> LlavaForConditionalGeneration:
    text: Any = AutoModelForCausalLM.from_pretrained(PICO_CHECKPOINT, dtype=torch.float32)
    vision = SiglipVisionConfig(
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
        vision_use_head=False,
    )
    text.config._name_or_path = ""  # it would be written down, and is a path of this machine
    config = LlavaConfig(
        vision_config=vision,
        text_config=text.config,
        image_token_index=processor.image_token_id,
        image_seq_length=IMAGE_TOKENS,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    model.model.language_model.load_state_dict(text.model.state_dict())
    model.tie_weights()
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=processor.tokenizer.eos_token_id, pad_token_id=processor.tokenizer.pad_token_id, do_sample=False
    )
    # On a CPU plain products are faster than its fused attention's backward pass.
    model.set_attn_implementation("eager" if device == "cpu" else "sdpa")
    return model.to(device)  # type: ignore[arg-type]  # transformers wraps `to`


def save(model: LlavaForConditionalGeneration, processor: LlavaProcessor, folder: Path) -> None:
    """Write bfloat16 weights beside the old files, then rename: a reader sees whole files only."""
    copy = LlavaForConditionalGeneration(model.config)
    copy.load_state_dict(model.state_dict())
    copy.generation_config = model.generation_config
    _write(folder, copy.bfloat16(), processor)


def save_language_model(model: LlavaForConditionalGeneration, processor: LlavaProcessor, folder: Path) -> None:
    """The part that needs no images, as the Llama checkpoint that pico is."""
    llama = LlamaForCausalLM(model.config.text_config).to(model.dtype)
    llama.model.load_state_dict(model.model.language_model.state_dict())
    llama.tie_weights()
    llama.generation_config = model.generation_config
    _write(folder, llama, processor.tokenizer)


def _write(folder: Path, *parts: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        for part in parts:
            part.save_pretrained(temporary)
        for file in Path(temporary).iterdir():
            file.chmod(0o644)
            file.replace(folder / file.name)
