"""Tiny random checkpoints of the Llama family, made by transformers, which is the oracle too."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

VOCAB = 260
COMMON: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": COMMON,
    "llama-bias": COMMON | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "mistral": COMMON | {"sliding_window": 8, "head_dim": 96},
    "qwen2": COMMON | {"hidden_size": 256, "intermediate_size": 20},  # has no head_dim
    "qwen3": COMMON | {"head_dim": 128},
    "gemma": COMMON,
}


def write_checkpoint(path: Path, family: str, **overrides: Any) -> Path:
    """A checkpoint with weights that are large enough for mistakes to show."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    settings = FAMILIES[family] | overrides
    if family == "qwen2":
        settings.pop("head_dim")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family.partition("-")[0], **settings))
    for name, weight in model.named_parameters():
        with torch.no_grad():
            weight.normal_(1.0 if "norm" in name else 0.0, 0.2 if weight.dim() == 1 else 1.2 * weight.shape[1] ** -0.5)
    model.save_pretrained(path)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(
        models.BPE({token: place for place, token in enumerate(["<pad>", "<s>", "</s>", *alphabet])}, [])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<pad>", "<s>", "</s>"])
    tokenizer.save(str(path / "tokenizer.json"))
    return path


def write_adapter(path: Path, checkpoint: Path) -> Path:
    """A LoRA adapter, in the files of PEFT, that changes every linear layer of a checkpoint by as much as shows."""
    rank, made = 3, torch.Generator().manual_seed(1)
    weights = load_file(checkpoint / "model.safetensors")
    shapes = {name.removesuffix(".weight"): one.shape for name, one in weights.items() if name.endswith("_proj.weight")}
    tensors = {}
    for name, (outs, ins) in shapes.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = torch.randn(rank, ins, generator=made) * ins**-0.5
        tensors[f"base_model.model.{name}.lora_B.weight"] = torch.randn(outs, rank, generator=made)
    path.mkdir()
    save_file(tensors, path / "adapter_model.safetensors")
    targets = sorted({name.rpartition(".")[2] for name in shapes})
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": targets}
    (path / "adapter_config.json").write_text(json.dumps(settings))
    return path
