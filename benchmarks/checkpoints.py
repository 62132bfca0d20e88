"""Random checkpoints in real shapes: speed does not depend on what the weights say."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

SHAPES = {
    "30m": {
        "hidden_size": 512,
        "intermediate_size": 1408,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
    },
    "150m": {
        "hidden_size": 1024,
        "intermediate_size": 2816,
        "num_hidden_layers": 12,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
    },
    "1b": {  # Llama 3.2 1B
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
    },
}
VOCABULARY = 8192  # of those that say no other


def make_checkpoint(shape: str, directory: Path, device: str = "cpu") -> Path:
    """A random Llama of a shape, with a byte tokenizer, in bf16, drawn on a device and saved to a directory."""
    torch.manual_seed(0)
    fields = {"vocab_size": VOCABULARY} | SHAPES[shape]
    config = LlamaConfig(
        max_position_embeddings=2048, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=0, **fields
    )
    with torch.device(device):
        model = LlamaForCausalLM(config)
    model.to(torch.bfloat16).save_pretrained(directory)
    _tokenizer(["<pad>", "<s>", "</s>"]).save_pretrained(directory)
    return directory


def make_llava(directory: Path) -> Path:
    """A random LLaVA: the smallest of these Llamas behind a SigLIP of 6 layers of 256 and 64 patches, in float32."""
    torch.manual_seed(0)
    tower = {"model_type": "siglip_vision_model", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 6}
    tower |= {"num_attention_heads": 4, "image_size": 96, "patch_size": 12, "vision_use_head": False}
    text = {"model_type": "llama", "vocab_size": VOCABULARY, "max_position_embeddings": 2048} | SHAPES["30m"]
    config = LlavaConfig(
        vision_config=tower,
        text_config=text | {"bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0},
        image_token_index=3,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    LlavaForConditionalGeneration(config).save_pretrained(directory)
    square = {"height": 96, "width": 96}
    images = SiglipImageProcessorPil(size=square, crop_size=square)
    tokenizer = _tokenizer(["<pad>", "<s>", "</s>", "<image>"])
    LlavaProcessor(images, tokenizer, patch_size=12, vision_feature_select_strategy="full").save_pretrained(directory)
    return directory


def _tokenizer(specials: list[str]) -> PreTrainedTokenizerFast:
    """Special tokens, then bytes."""
    alphabet = [*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
