"""In fp32 a call's result is what it is when the call runs alone: bit for bit on a CPU, up to rounding on a GPU."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pie_traits_text.forward import Forward
from pie_traits_text.output_text import GetNextDist

from pie_core.command import Command

from .conftest import DEVICE, FAMILIES, ON_CPU, ROUNDING, VOCAB, Driver, same

MOE = ("mixtral", "qwen3_moe", "gpt_oss", "deepseek_v3")
SHAPES: dict[str, dict[str, Any]] = {
    "grouped": {"hidden_size": 64},
    "wide head": {"hidden_size": 128, "head_dim": 128, "num_attention_heads": 2, "num_key_value_heads": 1},
    "lone head": {"hidden_size": 64, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 64},
    "odd sizes": {
        "hidden_size": 60,
        "intermediate_size": 99,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 20,
    },
    "long sums": {"hidden_size": 64, "intermediate_size": 2080},
}


@pytest.fixture(params=[1, 2] if ON_CPU else [1], autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def mixed_calls(driver: Driver, count: int) -> list[Forward]:
    """Calls with contexts of 0 to 150 tokens and 1 to 40 new ones, half of them single decode steps."""
    chance = random.Random(3)
    calls = []
    for index in range(count):
        context = chance.choice([0, 0, 3, 15, 16, 17, 31, 50, 64, 90, 127, 150])
        new = 1 if index % 2 else chance.choice([1, 2, 5, 8, 17, 33, 40])
        pages = driver.pages_for(context + new)
        tokens = [chance.randrange(3, VOCAB) for _ in range(context + new)]
        if context:
            driver.run(driver.forward(tokens[:context], range(context), [], pages))
        mask = None
        if index % 5 == 0:
            mask = [[chance.random() < 0.8 for _ in range(context + new)] for _ in range(new)]
        calls.append(driver.forward(tokens[context:], range(context, context + new), pages, pages, mask))
    for call in calls:
        call.prepare(driver.backend.info)
    return calls


def results(driver: Driver, batches: list[list[Command]]) -> list[torch.Tensor]:
    """Hidden states of each call, run batch by batch on fresh inputs (the inputs are restored afterwards)."""
    saved = driver.backend.embeds.clone()
    for batch in batches:
        driver.handlers["forward"].forward(batch)
    out = [driver.hidden(call) for batch in batches for call in batch]
    driver.backend.embeds.copy_(saved)
    return out


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_call_among_64_gives_the_bits_it_gives_alone(start: Any, make: Any, family: str, shape: str) -> None:
    driver = start(make(family, **SHAPES[shape]), pages=1024, implementation="lean")
    calls = mixed_calls(driver, 64)
    together = results(driver, [calls])
    alone = results(driver, [[call] for call in calls])
    assert same(together, alone)


@pytest.mark.parametrize("family", [name for name in FAMILIES if "-" not in name])
def test_any_family_gives_the_same_bits_or_for_experts_the_same_to_rounding(start: Any, family: str) -> None:
    driver = start(family, pages=512, implementation="generic")
    calls = mixed_calls(driver, 24)
    together = results(driver, [calls])
    alone = results(driver, [[call] for call in calls])
    worst = max((one - other).abs().max().item() for one, other in zip(together, alone, strict=True))
    print(f"{family}: {worst:.1e}")
    assert worst <= (1e-5 if family in MOE else 0.0) or (not ON_CPU and same(together, alone))


def test_a_distribution_among_many_is_the_one_it_is_alone(start: Any, make: Any) -> None:
    driver = start(make("llama", vocab_size=1009), implementation="lean")
    embeds = driver.embeds(33)
    driver.backend.embeds[[embed.index for embed in embeds]] = torch.randn(
        33, driver.backend.embeds.shape[1], device=DEVICE
    )
    for embed in embeds:
        embed.position = 0
    asked = [GetNextDist(emb=(embed,), top_k=(5, 256, None)[place % 3]) for place, embed in enumerate(embeds)]
    together = driver.run(*asked)
    alone = [driver.run(one)[0] for one in asked]
    if ON_CPU:
        assert together == alone
    for one, other in zip(together, alone, strict=True):
        assert dict(zip(one.ids, one.probs, strict=True)) == pytest.approx(
            dict(zip(other.ids, other.probs, strict=True)), rel=10 * ROUNDING
        )
