"""A small random Llama with a byte tokenizer, and the real plugins around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pie_core.application.application import Application
from pie_core.application.events import Ended
from pie_core.application.program import Program
from pie_core.controller import Controller, Settings

from ..checkpoints import write_llama

Start = Callable[..., Any]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers, grouped heads, fp32; weights large enough that a wrong key shows."""
    return write_llama(tmp_path_factory.mktemp("llama"), ["<pad>", "<s>", "</s>"], max_position_embeddings=512)


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
