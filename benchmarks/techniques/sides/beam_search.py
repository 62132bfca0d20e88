"""Beam search, against transformers' `generate(num_beams=...)`."""

from ast import literal_eval

from techniques.bench import Bench
from techniques.form import Baseline, Side, Technique

PROMPT = "The capital of France is"
TOKENS = 24


def ours(width: int) -> Side:
    async def side(bench: Bench, clients: int) -> list[str]:
        flags = [f"--prompt={PROMPT}", f"--width={width}", f"--max-tokens={TOKENS}"]
        found = await bench.run("beam_search", [flags] * clients)
        return [literal_eval(text.splitlines()[0].split(maxsplit=1)[1]) for text in found]

    return side


def transformers(width: int) -> Side:
    async def side(bench: Bench, clients: int) -> list[str]:
        return bench.generate([PROMPT] * clients, TOKENS, num_beams=width)

    return side


TECHNIQUES = [
    Technique(f"beam search, {width} beams", ours(width), {"transformers, beams": Baseline(transformers(width))})
    for width in (4, 8)
]
