"""What only a GPU shows: nobody waits for it in vain, and memory comes back. With PIE_TEST_DEVICE=cuda."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from pie_backend_torch.options import TorchOptions
from pie_backend_torch.plugin import load
from pie_traits_text.allocate import CopyKvpage

from pie_core.errors import ResourceError
from pie_core.inference.backend import Progress
from pie_core.model import ModelSpec
from pie_core.resource import KvPage

from .conftest import DEVICE, ON_CPU, Driver, write_adapter

pytestmark = pytest.mark.skipif(ON_CPU, reason="needs a GPU: set PIE_TEST_DEVICE=cuda")


@contextmanager
def no_waiting() -> Iterator[None]:
    """Whatever makes the host wait for the device is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the mode a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def calls(driver: Driver, adapters: tuple[str | None, ...]) -> list[Any]:
    """A prefill, a decode step and a masked call through each adapter, over pages that hold something."""
    made = []
    for name in adapters:
        pages = [driver.pages_for(40) for _ in range(3)]
        driver.run(*(driver.forward([7] * 20, range(20), [], some) for some in pages[1:]))
        made.append(driver.forward(list(range(5, 25)), range(20), [], pages[0], adapter=name))
        made.append(driver.forward([8], [20], pages[1], pages[1], adapter=name))
        mask = [[True] * 20 + [row >= column for column in range(5)] for row in range(5)]
        made.append(driver.forward([9] * 5, range(20, 25), pages[2], pages[2], mask, name))
    return made


@pytest.mark.parametrize("implementation", ["lean", "generic"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_host_waits_for_the_device_only_where_it_reads_results(
    start: Any, make: Any, tmp_path: Any, implementation: str, dtype: str
) -> None:
    folder = write_adapter(tmp_path / "poet", make("llama"), r=4, target_modules=["q_proj", "gate_proj"])
    driver: Driver = start("llama", implementation=implementation, dtype=dtype, adapters=str(folder))
    driver.run(*calls(driver, (None, "poet")))  # once, for what is made when it is first needed
    batch = calls(driver, (None, "poet"))
    old, new = driver.pages(1), driver.pages(1)
    driver.run(driver.forward([5] * 8, range(8), [], old))
    with no_waiting():
        driver.embed([5, 6, 7], range(3))
        driver.run(*batch)
        driver.run(CopyKvpage(src=old, dst=new))
        copy = driver.backend.swapper.swap_out(KvPage, [3, 1])
        driver.backend.swapper.swap_in(KvPage, copy, [None, 1])
    assert all(driver.hidden(call).isfinite().all() for call in batch)


def test_no_memory_is_left_when_a_backend_is_closed(start: Any) -> None:
    left, kept = [], []
    for _ in range(2):  # of the first, cuBLAS keeps its workspace
        driver: Driver = start("llama", pages=4096)
        driver.run(*calls(driver, (None,)))
        kept.append(driver.handlers)  # the control layer may hold these for longer
        driver.backend.close()
        gc.collect()
        left.append(torch.cuda.memory_allocated())
    assert left[1] - left[0] < 1 << 20


@contextmanager
def others_leave(free: int) -> Iterator[Progress]:
    """Has somebody take all of the device's memory but this once a model's weights are read."""
    taken: list[torch.Tensor] = []

    def take(stage: str, _: float | None) -> None:
        if stage == "pools":
            torch.cuda.empty_cache()
            taken.append(torch.empty(torch.cuda.mem_get_info()[0] - free, dtype=torch.uint8, device="cuda"))

    try:
        yield take
    finally:
        taken.clear()
        torch.cuda.empty_cache()


def test_a_pool_that_others_leave_no_room_for_is_an_error_with_the_pages_that_fit_then(make: Any) -> None:
    def sized(progress: Progress, pages: int) -> Any:
        options = TorchOptions(device=DEVICE, dtype="float32", pages=pages, embeds=64)
        return load(ModelSpec("tiny", make("llama")), options, progress)

    with others_leave(3 << 30) as take:
        with pytest.raises(ResourceError, match=r"ran out .* the pools were allocated.*--option pages=\d+") as caught:
            sized(take, 1_000_000)  # 12 GB
        pages = int(str(caught.value).partition("--option pages=")[2].split(")")[0])
        assert pages > 80_000  # a GB
        assert sized(lambda stage, share: None, pages - 1000)  # the first try's weights are still there


def test_the_default_pool_leaves_memory_free_and_a_larger_one_is_refused(start: Any) -> None:
    free = torch.cuda.mem_get_info()[0]
    with pytest.raises(ResourceError, match=r"\d+ pages would fit \(--option pages=\d+\)"):
        start("llama", pages=1 << 40)
    start("llama", pages=None)
    assert torch.cuda.mem_get_info()[0] > free / 2
