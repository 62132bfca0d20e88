"""Modules that the server has already, against whole prompts every time and transformers with caches put together.

transformers has no such option, but its caches are tensors: each module is run by itself at its positions, once, and a
prompt's cache is the ones of its modules, one behind the other. In whole prompts a module sees those before it, so
their answers may differ; they do not here (they do when all is said six times).
"""

from collections.abc import Sequence
from typing import Any

import torch
import transformers

from techniques.bench import Bench
from techniques.form import Baseline, Technique
from techniques.tasks import answers, possessions, questions, suffixes

MODULES = [possessions(3, slice(first, None, 3)) for first in range(3)]  # some 150 tokens each, of its own names
SCHEMA = "\n".join(f"part{part}: {text}" for part, text in enumerate(MODULES))
USED = "".join(f"{{part{part}}}" for part in range(len(MODULES)))
TOKENS, KEEP_S = 16, 600


async def ours(bench: Bench, clients: int) -> list[str]:
    flags = [f"--schema={SCHEMA}", f"--max-tokens={TOKENS}", f"--keep={KEEP_S}"]
    told = await bench.run("modular_caching", [[*flags, f"--prompts={USED} {each}"] for each in questions(clients)])
    return answers(told, clients)


async def plain(bench: Bench, clients: int) -> list[str]:
    whole = "".join(f"{text} " for text in MODULES)
    return await bench.complete([whole + suffix for suffix in suffixes(clients)], TOKENS)


class Generate:
    """transformers with the caches of the modules."""

    def __init__(self) -> None:
        self._kept: list[Any] = []  # a cache for each module

    async def __call__(self, bench: Bench, clients: int) -> list[str]:
        modules, rest = [bench.batch([f"{text} "]) for text in MODULES], bench.batch(suffixes(clients))
        if not self._kept:
            self._kept = self._run(bench, modules)
        layers = zip(*(cache.layers for cache in self._kept), strict=True)
        cache = transformers.DynamicCache([join(parts, clients) for parts in layers])
        texts = {name: [part[name].repeat(clients, 1) for part in modules] for name in rest}
        whole = {name: torch.cat([*texts[name], rest[name]], 1) for name in rest}
        return bench.go_on(whole, TOKENS, past_key_values=cache)

    def _run(self, bench: Bench, modules: list[Any]) -> list[Any]:
        caches, start = [], 0
        for part in modules:
            count = part["input_ids"].shape[1]
            caches.append(transformers.DynamicCache(config=bench.transformer.config))
            places = torch.arange(start, start + count)[None]
            with torch.no_grad():
                bench.transformer(part["input_ids"], position_ids=places, past_key_values=caches[-1])
            start += count
        return caches


def join(parts: Sequence[Any], clients: int) -> tuple[torch.Tensor, ...]:
    """Keys and values of one layer."""
    joined = (torch.cat([getattr(part, of) for part in parts], 2) for of in ("keys", "values"))
    return tuple(of.repeat(clients, 1, 1, 1) for of in joined)


def cached(bench: Bench, clients: int) -> int:
    """The modules of each."""
    return clients * sum(bench.batch([f"{text} "])["input_ids"].shape[1] for text in MODULES)


TECHNIQUES = [
    Technique(
        "modular caching",
        ours,
        {"our plain completion": Baseline(plain), "transformers, caches of the modules": Baseline(Generate())},
        cached,
    )
]
