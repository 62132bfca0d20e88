"""Fixtures: tiny random checkpoints of many families, and a driver that plays the control layer's part.

`PIE_TEST_DEVICE=cuda python -m pytest plugins/backend_torch/tests` runs the same tests on a GPU. The oracles stay on
the CPU, in float32. Other bounds hold there: `ROUNDING`, and `same`, for a GPU's kernels are chosen by the size of the
batch.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from pie_backend_torch.backend import TorchBackend
from pie_backend_torch.blas import choose_kernels_by_shape
from pie_backend_torch.options import TorchOptions
from pie_backend_torch.plugin import load, pie_handlers
from pie_traits_text.allocate import CopyKvpage
from pie_traits_text.forward import Forward, ForwardWithAdapter
from pie_traits_text.input_text import EmbedTxt
from pie_traits_text.output_text import Dist, GetNextDist
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from pie_core.command import Command
from pie_core.model import ModelSpec
from pie_core.resource import Embed, KvPage
from pie_core.schema import Mask

choose_kernels_by_shape()  # before any test computes something
torch.set_num_threads(1)  # tiny models: a second thread only waits

DEVICE = os.environ.get("PIE_TEST_DEVICE", "cpu")
ON_CPU = DEVICE == "cpu"
ROUNDING = 2e-5 if ON_CPU else 1e-4  # of the largest logit, between two ways to compute it in float32

VOCAB = 160
COMMON: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
MOE = {"num_experts_per_tok": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": COMMON,
    "llama-bias": COMMON
    | {"model_type": "llama", "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "llama-linear": COMMON
    | {"model_type": "llama", "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}},
    "llama-rope3": COMMON
    | {
        "model_type": "llama",
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "llama-yarn": COMMON
    | {
        "model_type": "llama",
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    },
    "qwen2": COMMON,
    "qwen2-sliding": COMMON
    | {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "qwen3": COMMON | {"head_dim": 32},
    "mistral": COMMON | {"sliding_window": 8},
    "ministral": COMMON | {"sliding_window": 8, "head_dim": 16},
    "mixtral": COMMON | MOE | {"num_local_experts": 4},
    "gemma": COMMON | {"head_dim": 16},
    "gemma2": COMMON | {"head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16},
    "gemma3_text": COMMON | {"head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16},
    "gemma4_text": COMMON
    | {"head_dim": 16, "sliding_window": 8, "vocab_size_per_layer_input": VOCAB, "hidden_size_per_layer_input": 16},
    "phi": COMMON,
    "phi3": COMMON,
    "olmo2": COMMON,
    "granite": COMMON | {"logits_scaling": 3.0, "embedding_multiplier": 2.0, "residual_multiplier": 0.7},
    "cohere2": COMMON | {"sliding_window": 8},
    "smollm3": COMMON,
    "starcoder2": COMMON | {"sliding_window": 8},
    "qwen3_moe": COMMON | MOE | {"head_dim": 32, "num_experts": 4, "moe_intermediate_size": 32},
    "gpt_oss": COMMON | MOE | {"head_dim": 16, "sliding_window": 8, "num_local_experts": 4},
    "deepseek_v3": COMMON
    | MOE
    | {
        "num_key_value_heads": 4,
        "q_lora_rank": 32,
        "kv_lora_rank": 32,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 16,
        "v_head_dim": 16,
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "moe_intermediate_size": 32,
    },
    "gpt_neox": {key: value for key, value in COMMON.items() if key != "num_key_value_heads"},
    "gpt2": {
        "vocab_size": VOCAB,
        "n_embd": 64,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 512,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    },
    "glm4": COMMON | {"head_dim": 16},
}
EAGER = {"gemma2", "gpt_oss"}  # families whose reference has no sdpa


def byte_tokenizer(vocab: int = VOCAB) -> Tokenizer:
    """Byte-level BPE: three specials, then as many bytes as fit the vocabulary, plus two merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*["<pad>", "<s>", "</s>", *alphabet][: vocab - 2], "he", "hel"]
    tokenizer = Tokenizer(models.BPE({token: place for place, token in enumerate(tokens)}, [("h", "e"), ("he", "l")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<pad>", "<s>", "</s>"])
    return tokenizer


def write_checkpoint(path: Path, family: str, **overrides: Any) -> Path:
    """A random checkpoint whose attention and biases matter, so that mistakes show in the tokens."""
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = FAMILIES[family] | overrides
    config = AutoConfig.for_model(**{"model_type": family, **fields})
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2:
                parameter.mul_(4.0)
            elif "norm" not in name:
                parameter.normal_(0.0, 0.3)
    model.generation_config.eos_token_id = [2]
    model.save_pretrained(path)
    byte_tokenizer(fields["vocab_size"]).save(str(path / "tokenizer.json"))
    return path


def write_adapter(path: Path, checkpoint: Path, seed: int = 0, strength: float = 0.2, **config: Any) -> Path:
    """A LoRA adapter as PEFT saves it, both sides random, so that it changes every token."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    torch.manual_seed(seed)
    with their_warnings():
        adapted = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **config))
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_" in name:
                    parameter.normal_(0.0, strength)
        adapted.save_pretrained(path)
    return path


def same(some: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> bool:
    """Whether hidden states or logits are equal: to the bit on a CPU, up to rounding elsewhere."""
    if ON_CPU:
        return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))
    scale = max(1.0, *(one.abs().max().item() for one in some))
    return all((one - other).abs().max() <= ROUNDING * scale for one, other in zip(some, others, strict=True))


@contextmanager
def their_warnings() -> Iterator[None]:
    """Around peft, which uses what transformers calls deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Driver:
    """Runs commands as the control layer would: prepare in program order, then batches of one kind."""

    def __init__(self, backend: TorchBackend, seed: int = 0) -> None:
        self.backend = backend
        self.handlers: dict[str, Any] = {spec.trait.split(">")[0]: spec.build(backend) for spec in pie_handlers()}
        self._free = random.Random(seed).sample(range(backend.capacity[KvPage]), backend.capacity[KvPage])
        self._embeds = iter(range(backend.capacity[Embed]))

    def pages(self, count: int) -> tuple[KvPage, ...]:
        """Empty pages, scattered over the pool."""
        return tuple(self._bound(KvPage.create(self.backend.info), self._free.pop()) for _ in range(count))

    def pages_for(self, tokens: int) -> tuple[KvPage, ...]:
        return self.pages(-(-tokens // self.backend.info.kvpage_size))

    def embeds(self, count: int) -> tuple[Embed, ...]:
        return tuple(self._bound(Embed(), next(self._embeds)) for _ in range(count))

    @staticmethod
    def _bound(resource: Any, index: int) -> Any:
        resource.index = index
        return resource

    def run(self, *commands: Command) -> list[Any]:
        """One batch of one kind."""
        for command in commands:
            command.prepare(self.backend.info)
        trait, name = _CALLS[commands[0].batch_kind()]
        return getattr(self.handlers[trait], name)(commands)

    def embed(self, tokens: Sequence[int], positions: Sequence[int]) -> tuple[Embed, ...]:
        embeds = self.embeds(len(tokens))
        self.run(EmbedTxt(tok=list(tokens), pos=list(positions), emb=embeds))
        return embeds

    def forward(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        ikv: Sequence[KvPage],
        okv: Sequence[KvPage],
        mask: Any = None,
        adapter: str | None = None,
    ) -> Forward | ForwardWithAdapter:
        """A forward call over fresh Embeds of these tokens, writing all hidden states back to them."""
        embeds = self.embed(tokens, positions)
        mask = None if mask is None else Mask.of(mask, "test")
        if adapter is not None:
            return ForwardWithAdapter(adapter, ikv=tuple(ikv), iemb=embeds, okv=tuple(okv), oemb=embeds, mask=mask)
        return Forward(ikv=tuple(ikv), iemb=embeds, okv=tuple(okv), oemb=embeds, mask=mask)

    def hidden(self, command: Forward | ForwardWithAdapter) -> torch.Tensor:
        """What a forward call left in its output Embeds; on the host."""
        return self.backend.embeds[[embed.index for embed in command.oemb]].cpu().clone()

    def logits(self, command: Forward | ForwardWithAdapter) -> torch.Tensor:
        """The scores of what a forward call left; on the host."""
        with torch.inference_mode():
            return self.backend.decoder.logits(self.hidden(command).to(self.backend.decoder.device)).cpu()

    def dist(self, embed: Embed, top_k: int | None = 256) -> Dist:
        return self.run(GetNextDist(emb=(embed,), top_k=top_k))[0]


_CALLS = {
    EmbedTxt: ("input_text", "embed_txt"),
    Forward: ("forward", "forward"),
    GetNextDist: ("output_text", "get_next_dist"),
    CopyKvpage: ("allocate", "copy_kvpage"),
}


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes the checkpoint of a family, once for each set of overrides. Not to be changed."""
    made: dict[str, Path] = {}

    def get(family: str, **overrides: Any) -> Path:
        key = f"{family} {overrides}"
        if key not in made:
            made[key] = write_checkpoint(tmp_path_factory.mktemp(family), family, **overrides)
        return made[key]

    return get


@pytest.fixture(scope="session")
def reference(make: Callable[..., Path]) -> Callable[[str], Any]:
    """transformers' own model of a family, in fp32."""
    from transformers import AutoModelForCausalLM

    made: dict[str, Any] = {}

    def get(family: str) -> Any:
        if family not in made:
            kind = "eager" if family in EAGER else "sdpa"
            made[family] = AutoModelForCausalLM.from_pretrained(
                make(family), dtype=torch.float32, attn_implementation=kind
            ).eval()
        return made[family]

    return get


@pytest.fixture(scope="session")
def start(make: Callable[..., Path]) -> Callable[..., Driver]:
    """A driver over a freshly loaded family or directory; keyword arguments are backend options."""

    def get(checkpoint: str | Path, **options: Any) -> Driver:
        path = make(checkpoint) if isinstance(checkpoint, str) else checkpoint
        settings = {"pages": 256, "embeds": 4096, "device": DEVICE} | options
        return Driver(load(ModelSpec(path.name, path), TorchOptions(**settings), lambda stage, share: None))

    return get
