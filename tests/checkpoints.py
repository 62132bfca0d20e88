"""Small random checkpoints and adapters on disk, for tests of the real backend."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil


def read_in_transformers(path: Path) -> Any:
    """The decoder of a checkpoint as transformers runs it, in fp32. That of a LLaVA is read without its tower."""
    config = AutoConfig.from_pretrained(path).get_text_config()
    names = {r"^language_model\.model\.": "model."}
    model, report = AutoModelForCausalLM.from_pretrained(
        path, config=config, key_mapping=names, dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"], report
    return model.eval()


def write_llama(path: Path, specials: Sequence[str], max_position_embeddings: int) -> Path:
    """Two layers, grouped heads, fp32; weights large enough that a wrong key shows. Tokens: specials, then bytes."""
    torch.manual_seed(0)
    alphabet = [*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(alphabet),
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=max_position_embeddings,
            bos_token_id=None,
            eos_token_id=specials.index("</s>"),
            pad_token_id=0,
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.mul_(4.0)
    model.save_pretrained(path)
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token=specials[0]).save_pretrained(path)
    return path


def write_adapter(path: Path, seed: int) -> Path:
    """A made-up LoRA for that Llama: rank 4 on the queries and the downs of both layers."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer, (name, inputs) in (
        (0, ("self_attn.q_proj", 64)),
        (1, ("self_attn.q_proj", 64)),
        (1, ("mlp.down_proj", 96)),
    ):
        prefix = f"base_model.model.model.layers.{layer}.{name}"
        tensors[f"{prefix}.lora_A.weight"] = torch.randn(4, inputs, generator=generator) * 0.2
        tensors[f"{prefix}.lora_B.weight"] = torch.randn(64, 4, generator=generator) * 0.2
    path.mkdir()
    save_file(tensors, path / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]}
    (path / "adapter_config.json").write_text(json.dumps(config))
    return path


TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"


def write_llava(path: Path) -> Path:
    """The same Llama, with a SigLIP tower of 16 patches before it. A processor is saved as `LlavaProcessor` does it."""
    torch.manual_seed(0)
    specials = ["<pad>", "</s>", "<image>"]
    alphabet = [*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    text = {"model_type": "llama", "vocab_size": len(alphabet), "hidden_size": 64, "intermediate_size": 96}
    text |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
    tower = {"model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    tower |= {"num_attention_heads": 2, "image_size": 32, "patch_size": 8, "vision_use_head": False}
    config = LlavaConfig(
        vision_config=tower,
        text_config=text | {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0},
        image_token_index=specials.index("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
    )
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.mul_(4.0)
    model.generation_config.eos_token_id = 1
    model.save_pretrained(path)
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", chat_template=TURNS
    )
    square = {"height": 32, "width": 32}
    LlavaProcessor(
        SiglipImageProcessorPil(size=square, crop_size=square),
        wrapped,
        patch_size=8,
        vision_feature_select_strategy="full",
        chat_template=TURNS,
    ).save_pretrained(path)
    return path
