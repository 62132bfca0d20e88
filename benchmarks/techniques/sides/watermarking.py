"""The soft watermark, against transformers' own: the same bias on the same share of the vocabulary, both drawing.

Texts differ: the two colour the vocabulary with different generators. Ours looks for its watermark at the end, too, and
the baseline does not have to.
"""

import transformers

from techniques.bench import Bench
from techniques.form import Baseline, Technique

QUESTION, TOKENS = "Name three colours.", 200
GAMMA, DELTA, TEMPERATURE, TOP_K = 0.25, 4.0, 2.0, 256


async def ours(bench: Bench, clients: int) -> list[str]:
    flags = [f"--prompt={QUESTION}", f"--max-tokens={TOKENS}", f"--gamma={GAMMA}", f"--delta={DELTA}"]
    flags.append(f"--temperature={TEMPERATURE}")
    return await bench.run("watermarking", [[*flags, f"--seed={number}"] for number in range(clients)])


async def generate(bench: Bench, clients: int) -> list[str]:
    config = transformers.WatermarkingConfig(greenlist_ratio=GAMMA, bias=DELTA)
    drawing = {"do_sample": True, "temperature": TEMPERATURE, "top_k": TOP_K, "min_new_tokens": TOKENS}
    return bench.generate([bench.chat(QUESTION)] * clients, TOKENS, watermarking_config=config, **drawing)


TECHNIQUES = [Technique("watermarking", ours, {"transformers, watermark": Baseline(generate, same=False)})]
