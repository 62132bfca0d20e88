"""A small random Llama with a byte tokenizer, and the real plugins around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pie_core.application.application import Application
from pie_core.application.events import Ended
from pie_core.application.program import Program
from pie_core.controller import Controller, Settings

Start = Callable[..., Any]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers, grouped heads, fp32; weights large enough that a wrong key shows."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=259,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            bos_token_id=None,
            eos_token_id=2,
            pad_token_id=0,
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.mul_(4.0)
    path = tmp_path_factory.mktemp("llama")
    model.save_pretrained(path)
    alphabet = ["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>").save_pretrained(path)
    return path


@pytest.fixture
def start(checkpoint: Path) -> Start:
    """`async with start(pages=64) as controller`: the whole core, found through entry points, on the torch backend."""

    @asynccontextmanager
    async def get(model: str | Path = checkpoint, **options: Any) -> AsyncIterator[Controller]:
        given = {"pages": 512, "embeds": 4096, "dtype": "float32"} | options
        settings = Settings(str(model), "torch", {name: str(value) for name, value in given.items()}, tier="native")
        async with Controller(settings) as controller:
            yield controller

    return get


async def finish(application: Application, source: str, arguments: list[list[str]]) -> list[str]:
    """Run one program at once with each of the argument lists; their results."""
    program = Program("test", source, "test.py")
    inferlets = [await application.launch(program, given) for given in arguments]
    results = []
    for inferlet in inferlets:
        arrived = asyncio.Event()
        inferlet.ended.watch(lambda _, arrived=arrived: arrived.set())
        await arrived.wait()
        assert isinstance(inferlet.outcome, Ended)
        assert inferlet.outcome.status == "finished", inferlet.outcome.error
        results.append(inferlet.outcome.value or "")
    return results
