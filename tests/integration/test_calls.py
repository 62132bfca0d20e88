"""Every call of the text traits on the real backend, by a program written from their declarations.

What wrong calls are told, on this backend too: tests/traits_text/test_misuse.py.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import torch
from pie_traits_text.allocate import ALLOCATE
from pie_traits_text.forward import FORWARD
from pie_traits_text.input_text import INPUT_TEXT
from pie_traits_text.output_text import OUTPUT_TEXT
from pie_traits_text.tokenize import TOKENIZE
from safetensors.torch import load_file
from tokenizers import pre_tokenizers
from transformers import LlamaForCausalLM

from ..checkpoints import write_adapter
from .conftest import Start, finish

TEXT = "The quick brown fox jumps over the lazy dog"
SOURCE = """
import json, math
from inferlet import *

async def main():
    model = get_auto_model()
    q = create_queue(model)
    size, text = get_kvpage_size(model), get_arg()[0]
    ids = tokenize(q, text)
    vocabulary = get_vocabs(q)
    assert detokenize(q, ids) == text and b"".join(vocabulary[i] for i in ids) == text.encode()
    assert list_adapters(model) == ["poet", "judge"]
    n = len(ids)
    pages, last = alloc_kvpage(q, math.ceil((n + 1) / size)), alloc_emb(q, 1)
    embeds = alloc_emb(q, n)
    embed_txt(q, ids, list(range(n)), embeds)
    forward(q, [], embeds, pages, last)
    said = {"plain": list((await get_next_dist(q, last, None)).probs)}

    export_kvpage(pages[:1], "start")
    assert [(e.name, e.pages, e.tokens) for e in exported_kvpages()] == [("start", 1, size)]
    shared = import_kvpage("start")
    release_kvpage("start")
    copies = alloc_kvpage(q, len(pages))
    copy_kvpage(q, pages[1:], copies[1:])
    copy_kvpage(q, shared, copies[:1], 0, 0, size)
    again, mine = alloc_kvpage(q, 1), alloc_emb(q, 1)
    mask_kvpage(q, copies, [position >= 3 and position < n - 1 for position in range(n)])
    embed_txt(q, ids[-1], n - 1, mine)
    forward(q, copies, mine, again, mine)
    said["hidden"] = list((await get_next_dist(q, mine, None)).probs)

    mask_kvpage(q, copies, [True] * n)
    embed_txt(q, ids[-1], n - 1, mine)
    rows = [[position >= 3 and position < n - 1 for position in range(n)] + [True]]
    forward(q, copies, mine, alloc_kvpage(q, 1), mine, rows)
    said["masked"] = list((await get_next_dist(q, mine, None)).probs)

    for adapter in list_adapters(model):
        embed_txt(q, ids, list(range(n)), embeds)
        forward_with_adapter(q, adapter, [], embeds, alloc_kvpage(q, len(pages)), last)
        dist = await get_next_dist(q, last, None)
        said[adapter] = list(dist.probs)
    dealloc_emb(q, embeds + last + mine)
    dealloc_kvpage(q, pages + copies + again + shared)
    await synchronize(q)
    return json.dumps(said)
"""


def test_the_program_uses_every_call() -> None:
    known = [name for trait in (ALLOCATE, FORWARD, INPUT_TEXT, OUTPUT_TEXT, TOKENIZE) for name in trait.signatures]
    assert len(known) == 19  # of the paper's 18, those for images are another trait's; with four listings and releases
    assert [name for name in known if f"{name}(" not in SOURCE] == []


def test_every_call_does_what_it_says_on_the_real_backend(start: Start, checkpoint: Path, tmp_path: Path) -> None:
    adapters = [write_adapter(tmp_path / name, seed) for seed, name in enumerate(["poet", "judge"])]

    async def run() -> dict[str, list[float]]:
        async with start(adapters=",".join(map(str, adapters))) as controller:
            said: dict[str, list[float]] = json.loads((await finish(controller.application, SOURCE, [[TEXT]]))[0])
            return said

    said = asyncio.run(run())
    model = LlamaForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    ids = torch.tensor([[_token(byte) for byte in TEXT.encode()]])
    assert said["plain"] == pytest.approx(_probabilities(model, ids), abs=1e-5)
    shown = torch.tril(torch.ones(len(TEXT), len(TEXT), dtype=torch.bool))
    shown[-1, :3] = False
    assert said["hidden"] == pytest.approx(_probabilities(model, ids, shown), abs=1e-5)
    assert said["masked"] == said["hidden"]
    for folder in adapters:
        assert said[folder.name] == pytest.approx(_probabilities(_merged(checkpoint, folder), ids), abs=1e-5)
        assert max(abs(a - b) for a, b in zip(said[folder.name], said["plain"], strict=True)) > 1e-3


def _token(byte: int) -> int:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return 3 + alphabet.index("\u0120" if byte == 32 else chr(byte))


def _probabilities(model: LlamaForCausalLM, ids: torch.Tensor, shown: torch.Tensor | None = None) -> list[float]:
    """Of the whole vocabulary after the last token, in falling order."""
    bias = None
    if shown is not None:
        bias = torch.zeros(1, 1, *shown.shape).masked_fill(~shown, torch.finfo(torch.float32).min)
    with torch.no_grad():
        logits = model(ids, attention_mask=bias).logits[0, -1]
    probabilities: list[float] = torch.softmax(logits, -1).sort(descending=True).values.tolist()
    return probabilities


def _merged(checkpoint: Path, folder: Path) -> LlamaForCausalLM:
    """The model with the adapter's product added to its weights: alpha / r is 2."""
    model = LlamaForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    tensors = load_file(folder / "adapter_model.safetensors")
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, down in tensors.items():
            if "lora_A" in name:
                layer = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
                weights[f"{layer}.weight"] += 2 * tensors[name.replace("lora_A", "lora_B")] @ down
    return model
