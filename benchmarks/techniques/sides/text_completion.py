"""Greedy text completion, against transformers' `generate`."""

from techniques.bench import Bench
from techniques.form import Baseline, Technique

PROMPTS = (
    "Country: Japan\nJSON:",
    "Text: vexil zorp 731 plim\nCopy:",
    "The capital of France is",
    "Text: the old sailor reads a letter\nCopy:",
)
TOKENS = 32


def prompts(clients: int) -> list[str]:
    return [PROMPTS[number % len(PROMPTS)] for number in range(clients)]


async def ours(bench: Bench, clients: int) -> list[str]:
    return await bench.complete(prompts(clients), TOKENS)


async def transformers(bench: Bench, clients: int) -> list[str]:
    return bench.generate(prompts(clients), TOKENS)


TECHNIQUES = [Technique("text completion", ours, {"transformers generate": Baseline(transformers)})]
