"""Memory that is not there is said with what would fit; and what is said to fit does."""

from __future__ import annotations

import contextlib
import re
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from pie_backend_torch import memory
from pie_backend_torch.options import TorchOptions
from pie_backend_torch.plugin import load
from safetensors.torch import load_file

from pie_core.errors import ResourceError
from pie_core.inference.backend import Progress
from pie_core.model import ModelSpec
from pie_core.resource import Embed, KvPage


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has the machine say that so many bytes are free, besides those that are kept for activations."""

    def say(count: int) -> None:
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=memory.RESERVE["cpu"] + count))

    return say


def loaded(path: Path, progress: Progress = lambda stage, share: None, **options: Any) -> Any:
    settings: dict[str, Any] = {"pages": 1, "embeds": 1, "device": "cpu"} | options
    return load(ModelSpec("tiny", path), TorchOptions(**settings), progress)


def numbers(path: Path) -> int:
    return sum(tensor.numel() for tensor in load_file(path / "model.safetensors").values())


def test_weights_that_do_not_fit_are_refused_with_the_dtypes_in_which_they_do(
    make: Any, left: Callable[[int], None]
) -> None:
    count = numbers(path := make("llama"))
    sizes = f"{count * 4 / 2**20:.1f} MiB in float32,.*{count * 2 / 2**20:.1f} MiB in bfloat16 or .* in float16"
    left(count * 4 - 1)
    with pytest.raises(ResourceError, match=rf"{sizes} \(--option dtype=bfloat16\)"):
        loaded(path, dtype="float32")
    for dtype in ("bfloat16", "float16"):
        left(count * 4 - 1)
        loaded(path, dtype=dtype)
        left(count * 2 - 1)
        for wanted in (dtype, "float32"):
            with pytest.raises(ResourceError, match=r"free 1 MiB more, .*in b?float16, or take a smaller checkpoint"):
                loaded(path, dtype=wanted)


@pytest.mark.parametrize("implementation", ["lean", "generic"])
def test_running_out_while_weights_are_read_names_dtypes_that_fit_and_no_pools(
    make: Any, left: Callable[[int], None], implementation: str
) -> None:
    count = numbers(path := make("llama"))

    def others_take(rest: int) -> Progress:
        def meanwhile(stage: str, share: float | None) -> None:
            if stage == "weights":
                left(rest)
                raise torch.OutOfMemoryError("somebody else")

        return meanwhile

    for rest, dtype, message in (
        (count * 4 - 1, "float32", r"in float32\).* in bfloat16 or .*\(--option dtype=bfloat16\)"),
        (count * 2 - 1, "float32", r"in float32\).*free 1 MiB more, which is room for .* in bfloat16"),
        (count * 2 - 1, "float16", r"in float16\).*free 1 MiB more, which is room for .* in float16"),
        (count * 2, "float16", r"in float16\).*there is enough free now: start again"),
    ):
        left(1 << 30)
        with pytest.raises(ResourceError, match=f"^torch: cpu ran out .* the weights were read .*{message}") as caught:
            loaded(path, others_take(rest), implementation=implementation, dtype=dtype)
        assert "page" not in str(caught.value) and "Embed" not in str(caught.value)


def full_device() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


FULL: dict[str, Callable[[], object]] = {  # each raises what it raises where there is no memory
    "device": full_device,
    "torch on the host": lambda: torch.empty(1 << 60, dtype=torch.uint8),
    "numpy": lambda: np.zeros(1 << 60, np.uint8),
}


@pytest.mark.parametrize("where", FULL)
@pytest.mark.parametrize(("stage", "tokens"), [("weights", 0), ("check", 1), ("check", 2)])
def test_running_out_while_transformers_reads_or_tries_a_model_is_no_fault_of_the_model(
    make: Any, monkeypatch: pytest.MonkeyPatch, where: str, stage: str, tokens: int
) -> None:
    from transformers import AutoModelForCausalLM

    genuine = torch.nn.Embedding.forward

    def embed(self: torch.nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
        if ids.numel() >= tokens:  # one is the probe's, more are of the reference
            FULL[where]()
        return genuine(self, ids)

    def fill(now: str, _: float | None) -> None:
        if now == stage == "check":
            monkeypatch.setattr(torch.nn.Embedding, "forward", embed)
        elif now == stage:
            monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: FULL[where]())

    with pytest.raises(ResourceError, match="ran out of memory while the weights were read"):
        loaded(make("llama"), fill, implementation="generic")


def test_an_error_that_is_not_about_memory_is_left_alone(make: Any) -> None:
    def fail(stage: str, _: float | None) -> None:
        if stage == "weights":
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        loaded(make("llama"), fail)


PAGE, EMBED = 16 * (3 * 2 * 2 * 16 * 4 + 8), 64 * 4  # bytes, in float32


def advised(error: BaseException) -> dict[str, int]:
    return {name: int(count) for name, count in re.findall(r"--option (\w+)=(\d+)", str(error))}


@pytest.mark.parametrize(
    ("free", "options", "advice"),
    [
        (10 * PAGE + 64 * EMBED, {"pages": 11, "embeds": 64}, {"pages": 10}),
        (10 * PAGE + 64 * EMBED - 1, {"pages": 64, "embeds": 64}, {"pages": 9}),
        (2 * PAGE + 64 * EMBED, {"pages": None, "embeds": 64}, {"pages": 2}),  # not one in 40% of two
        (100 * PAGE, {"pages": 64, "embeds": 5000}, {"pages": 50, "embeds": 50 * PAGE // EMBED}),
        (100 * PAGE, {"pages": None, "embeds": 5000}, {"pages": 50, "embeds": 50 * PAGE // EMBED}),
        (100 * PAGE, {"pages": 7, "embeds": 5000}, {"pages": 7, "embeds": 93 * PAGE // EMBED}),
        (PAGE + 3 * EMBED, {"pages": 1, "embeds": 64}, {"pages": 1, "embeds": 3}),
    ],
)
def test_pools_that_do_not_fit_are_refused_with_sizes_that_do(
    make: Any, left: Callable[[int], None], free: int, options: dict[str, Any], advice: dict[str, int]
) -> None:
    def sized(**sizes: Any) -> Any:
        left(1 << 30)  # for weights
        return loaded(make("llama"), lambda stage, _: left(free) if stage == "weights" else None, **sizes)

    with pytest.raises(ResourceError, match="would fit") as caught:
        sized(**options)
    assert advised(caught.value) == advice
    assert sized(**options | advice).capacity == {KvPage: advice["pages"], Embed: (options | advice)["embeds"]}
    for name, count in advice.items():
        with pytest.raises(ResourceError):
            sized(**options | advice | {name: count + 1})


def test_no_size_is_advised_where_none_fits(make: Any, left: Callable[[int], None]) -> None:
    left(1 << 30)
    with pytest.raises(ResourceError, match="free 1 MiB more at the least, for one page and one Embed") as caught:
        loaded(make("llama"), lambda stage, _: left(PAGE) if stage == "weights" else None)
    assert advised(caught.value) == {}


def gaps(size: int) -> Iterator[torch.Tensor]:
    """Takes what earlier tests freed and the C library kept, in pieces of `size` bytes: no limit counts it anew."""
    with contextlib.suppress(RuntimeError):
        while True:
            yield torch.empty(size, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("pages", "free", "advice"),
    [
        (50_000, 10 * PAGE + 64 * EMBED, {"pages": 10}),
        (50_000, 1 << 30, {}),  # what was wanted would fit: no other size is advised
        (None, 1 << 30, {}),
    ],
)
def test_running_out_while_pools_are_allocated_names_the_pages_that_fit_by_then(
    make: Any, left: Callable[[int], None], pages: int | None, free: int, advice: dict[str, int]
) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    taken: list[torch.Tensor] = []

    def fill(stage: str, _: float | None) -> None:
        if stage == "pools":
            left(free)
            resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms, before[1]))
            taken.extend(gaps(4 << 20))
            resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + (16 << 20), before[1]))

    left(1 << 30)
    try:
        with pytest.raises(ResourceError, match=r"^torch: cpu ran out .* the pools were allocated") as caught:
            loaded(make("llama"), fill, pages=pages, embeds=64)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert advised(caught.value) == advice
    assert bool(advice) != ("there is enough free now: start again" in str(caught.value))
