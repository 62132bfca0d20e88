"""Techniques as a client writes them who has a completion only: loops that send all of the text so far, each time.

A loop is written once (`Loop`), and run over our plain completion and over transformers' `generate`. What does not
depend on each other it asks for at once: our server then batches the requests of all clients, and for transformers
those of a kind that wait at the same time make one `generate`. A request to our server is a launch over a connection
that stays open, on this machine, and so is the launch of our program; `generate` is a function in this process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from techniques.bench import Bench
from techniques.form import Baseline, Side

IDLE = 20  # turns of the event loop without a new request, after which those that wait are run


class Ask(Protocol):
    """A greedy completion of a text, that ends after the text `stop` if the model writes it."""

    def __call__(self, prompt: str, max_tokens: int, stop: str = "") -> Awaitable[str]: ...


Loop = Callable[[Bench, Ask, int], Awaitable[str]]
"""What the client of this number does; its answer."""


def baselines(loop: Loop, aim: float = 1.0) -> dict[str, Baseline]:
    """The loop over both. aim: against the one over our plain completion."""
    return {
        "client-side loop": Baseline(over_completion(loop), aim),
        "that loop over transformers": Baseline(over_transformers(loop)),
    }


def over_completion(loop: Loop) -> Side:
    """Each request is our plain completion."""

    async def side(bench: Bench, clients: int) -> list[str]:
        async def ask(prompt: str, max_tokens: int, stop: str = "") -> str:
            (text,) = await bench.complete([prompt], max_tokens, f"--stop={stop}")
            return text

        return await asyncio.gather(*(loop(bench, ask, number) for number in range(clients)))

    return side


def over_transformers(loop: Loop) -> Side:
    """The requests that wait at the same time, and have limit and stop in common, are one `generate`."""

    async def side(bench: Bench, clients: int) -> list[str]:
        ask = Together(bench)
        return await asyncio.gather(*(loop(bench, ask, number) for number in range(clients)))

    return side


class Together:
    """Holds requests back until nobody has another one to make, then runs those of a kind as one `generate`."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._waiting: dict[tuple[int, str], list[str]] = {}  # prompts by limit and stop
        self._turn: asyncio.Task[dict[tuple[int, str], list[str]]] | None = None  # answers what waits

    async def __call__(self, prompt: str, max_tokens: int, stop: str = "") -> str:
        kind = max_tokens, stop
        prompts = self._waiting.setdefault(kind, [])
        prompts.append(prompt)
        place = len(prompts) - 1
        if self._turn is None:
            self._turn = asyncio.create_task(self._answers())
        return (await self._turn)[kind][place]

    async def _answers(self) -> dict[tuple[int, str], list[str]]:
        await self._all_asked()
        waiting, self._waiting, self._turn = self._waiting, {}, None
        return {kind: self._generate(prompts, *kind) for kind, prompts in waiting.items()}

    async def _all_asked(self) -> None:
        asked, idle = 0, 0
        while idle < IDLE:
            await asyncio.sleep(0)
            now = sum(map(len, self._waiting.values()))
            asked, idle = now, idle + 1 if now == asked else 0

    def _generate(self, prompts: list[str], max_tokens: int, stop: str) -> list[str]:
        options = {"stop_strings": stop, "tokenizer": self._bench.tokenizer} if stop else {}
        return self._bench.generate(prompts, max_tokens, **options)
