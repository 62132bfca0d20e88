"""Jacobi decoding, against transformers' greedy `generate` (which has no such option) and our plain completion."""

from techniques.bench import Bench
from techniques.form import Baseline, Technique

QUESTION, TOKENS = "Repeat: the old sailor reads a letter near the silent harbor", 64


async def ours(bench: Bench, clients: int) -> list[str]:
    flags = [f"--prompt={QUESTION}", f"--max-tokens={TOKENS}"]
    return [text.rpartition("\n[")[0] for text in await bench.run("jacobi_decoding", [flags] * clients)]


async def plain(bench: Bench, clients: int) -> list[str]:
    return await bench.complete([QUESTION] * clients, TOKENS, "--chat")


async def transformers(bench: Bench, clients: int) -> list[str]:
    return bench.generate([bench.chat(QUESTION)] * clients, TOKENS)


TECHNIQUES = [
    Technique(
        "Jacobi decoding",
        ours,
        {"transformers generate": Baseline(transformers), "our plain completion": Baseline(plain)},
    )
]
