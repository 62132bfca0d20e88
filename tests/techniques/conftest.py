"""The bundled model, and a random one, as transformers runs them: the oracle of most techniques."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from pie_core.controller import find_model
from pie_core.plugins import Selection

from ..checkpoints import read_in_transformers, write_llama


@dataclass(frozen=True)
class Reference:
    """A checkpoint in transformers, fp32, on the CPU."""

    path: Path
    model: Any
    tokenizer: Any

    def encode(self, text: str) -> list[int]:
        """Tokens without any that the tokenizer would add."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, tokens: list[int]) -> str:
        """Text, special tokens included."""
        return str(self.tokenizer.decode(tokens))

    def chat(self, question: str) -> str:
        """The prompt of one user turn, in the model's template."""
        turn = [{"role": "user", "content": question}]
        return str(self.tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False))

    def generate(self, prompt: str, max_new_tokens: int, **options: Any) -> list[int]:
        """New tokens, the end token left out; greedy unless `options` say otherwise."""
        ids = torch.tensor([self.encode(prompt)])
        options = {"do_sample": False, "max_new_tokens": max_new_tokens} | options
        with torch.no_grad():
            out = self.model.generate(ids, attention_mask=torch.ones_like(ids), **options)
        return [t for t in out[0, ids.shape[1] :].tolist() if t not in self.ends]

    @property
    def ends(self) -> list[int]:
        """The tokens that end an answer."""
        ends: list[int] = torch.atleast_1d(torch.tensor(self.model.generation_config.eos_token_id)).tolist()
        return ends

    def generate_each(self, prompts: list[str], max_new_tokens: int) -> list[list[int]]:
        """What `generate` makes of each prompt, in one batch; an answer ends at the end token."""
        batch = self.tokenizer(
            prompts, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt"
        )
        ids, mask = batch["input_ids"], batch["attention_mask"]
        with torch.no_grad():
            out = self.model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=max_new_tokens)
        end = self.tokenizer.eos_token_id
        return [list(takewhile(lambda token: token != end, row)) for row in out[:, ids.shape[1] :].tolist()]

    def logits(
        self, tokens: list[int], positions: list[int] | None = None, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """[tokens, vocabulary] of one forward pass. mask: bool [tokens, tokens], row by row what a token sees."""
        given: dict[str, Any] = {}
        if positions is not None:
            given["position_ids"] = torch.tensor([positions])
        if mask is not None:
            additive = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
            given["attention_mask"] = additive[None, None]
        with torch.no_grad():
            return self.model(torch.tensor([tokens]), **given).logits[0]


@pytest.fixture(scope="session")
def reference() -> Reference:
    """The bundled model."""
    return load_reference(find_model("pico", Selection()).path)


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """A small random Llama over bytes with 64 positions, of which every fifth token ends an answer."""
    path = write_llama(tmp_path_factory.mktemp("llama") / "llama", ["<pad>", "</s>"], 64)
    config = path / "generation_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"eos_token_id": list(range(1, 258, 5))}))
    return load_reference(path)


def load_reference(path: Path) -> Reference:
    """A checkpoint directory, in transformers."""
    return Reference(path, read_in_transformers(path), AutoTokenizer.from_pretrained(path))
