"""Models as transformers runs them with its plain attention, which shows its weights: the oracle."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pie_model_pico
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

PICO = pie_model_pico.pie_model().path

SMALL = {"vocab_size": 1024, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "head_dim": 16}
SMALL |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256}
SMALL |= {"bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0}
FAMILIES = {
    "mistral": {"sliding_window": 5},
    "gemma2": {"sliding_window": 5, "query_pre_attn_scalar": 20, "attn_logit_softcapping": 3.0},
    "gpt_oss": {"sliding_window": 5, "num_local_experts": 4, "num_experts_per_tok": 2},
}


@dataclass(frozen=True)
class Reference:
    """A checkpoint in transformers, in fp32."""

    path: Path
    model: Any

    def run(self, tokens: list[int], visible: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """(weights [layers, heads, tokens, tokens], logits [tokens, vocabulary]) of one pass. visible: row by row."""
        given = {}
        if visible is not None:
            bias = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)
            given["attention_mask"] = bias[None, None]
        with torch.no_grad():
            out = self.model(torch.tensor([tokens]), output_attentions=True, use_cache=False, **given)
        return torch.cat(out.attentions), out.logits[0]


def read(path: Path) -> Reference:
    """A checkpoint; that of a model that sees is read without its tower."""
    model = AutoModelForCausalLM.from_pretrained(
        path,
        config=AutoConfig.from_pretrained(path).get_text_config(),
        key_mapping={r"^language_model\.model\.": "model."},
        dtype=torch.float32,
        attn_implementation="eager",
    )
    return Reference(path, model.eval())


@pytest.fixture(scope="session")
def pico() -> Reference:
    """The bundled model: 8 layers, 4 heads over 2 of the keys."""
    return read(PICO)


@pytest.fixture(params=FAMILIES)
def stranger(request, tmp_path) -> Reference:
    """A random model whose attention has more to it: windows, soft caps, sinks."""
    torch.manual_seed(0)
    path = tmp_path / request.param
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(request.param, **SMALL, **FAMILIES[request.param]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.mul_(4.0)  # so that tokens look at something
            if name.endswith("sinks"):
                parameter.normal_()
    model.save_pretrained(path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(PICO / file, path)
    return read(path)
