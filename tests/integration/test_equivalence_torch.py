"""Any interleaving of commands in any queues gives, bit for bit, the tensors that running them one by one gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from pie_backend_torch.options import TorchOptions
from pie_backend_torch.plugin import load, pie_handlers

from pie_core import Backend, ModelSpec
from pie_core.testing.rig import make_rig

from ..checkpoints import write_adapter
from ..control.players import ADAPTERS, EMBEDS, PAGES, play, program

SIZE = 8


@pytest.fixture(scope="module")
def backend(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Backend:
    folder = tmp_path_factory.mktemp("adapters")
    adapters = [str(write_adapter(folder / name, seed)) for seed, name in enumerate(ADAPTERS)]
    sizes = {"page_size": SIZE, "pages": 2 * PAGES + 2, "embeds": 2 * EMBEDS}
    options = TorchOptions(dtype="float32", threads=1, adapters=",".join(adapters), **sizes)
    return load(ModelSpec("llama", checkpoint), options, lambda stage, share: None)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(program)
def test_any_interleaving_gives_the_tensors_of_running_one_by_one(backend: Any, steps: Any) -> None:
    pool = backend.pool

    def read(page: int, slot: int) -> list[Any]:
        at = page * SIZE + slot
        tensors = [pool.positions[at], *(keys[at] for keys in pool.keys), *(values[at] for values in pool.values)]
        return [tensor.numpy().tobytes() for tensor in tensors]

    def run(alone: bool) -> Any:
        return play(make_rig(backend=backend, handlers=pie_handlers(), name="torch"), read, steps, alone)

    assert run(alone=False) == run(alone=True)
