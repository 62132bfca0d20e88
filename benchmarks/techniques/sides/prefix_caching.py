"""A long prefix that the server has already, against the whole prompt every time and transformers with its own cache.

The prefix is kept from the round before. transformers' side copies the cache of the prefix, which lasts from round to
round, too, and goes on from it: what its guide calls re-using a cache.
"""

import copy
from typing import Any

import torch
import transformers

from techniques.bench import Bench
from techniques.form import Baseline, Technique
from techniques.tasks import answers, possessions, questions, suffixes

PREFIX = possessions(6)  # some 900 tokens
TOKENS, KEEP_S = 16, 600


async def ours(bench: Bench, clients: int) -> list[str]:
    flags = [f"--prefix={PREFIX}", f"--max-tokens={TOKENS}", f"--keep={KEEP_S}"]
    told = await bench.run("prefix_caching", [[*flags, f"--questions={each}"] for each in questions(clients)])
    return answers(told, clients)


async def plain(bench: Bench, clients: int) -> list[str]:
    return await bench.complete([PREFIX + suffix for suffix in suffixes(clients)], TOKENS)


class Generate:
    """transformers with the cache of the prefix."""

    def __init__(self) -> None:
        self._kept: Any = None

    async def __call__(self, bench: Bench, clients: int) -> list[str]:
        prefix, rest = bench.batch([PREFIX]), bench.batch(suffixes(clients))
        if self._kept is None:
            self._kept = transformers.DynamicCache(config=bench.transformer.config)
            with torch.no_grad():
                bench.transformer(**prefix, past_key_values=self._kept)
        cache = copy.deepcopy(self._kept)
        cache.batch_repeat_interleave(clients)
        whole = {name: torch.cat([prefix[name].repeat(clients, 1), rest[name]], 1) for name in rest}
        return bench.go_on(whole, TOKENS, past_key_values=cache)


def cached(bench: Bench, clients: int) -> int:
    """The prefix of each."""
    return clients * int(bench.batch([PREFIX])["input_ids"].shape[1])


TECHNIQUES = [
    Technique(
        "prefix caching",
        ours,
        {"our plain completion": Baseline(plain), "transformers, cache of the prefix": Baseline(Generate())},
        cached,
    )
]
