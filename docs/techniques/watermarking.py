"""Outputs, the table and the picture of the page on watermarks: `PYTHONPATH=. python docs/techniques/watermarking.py`

From the root; it takes a minute. Has the program write texts with each bias and several seeds, on the bundled model in
fp32, and then detect, in ever longer beginnings of them: the z that it prints is what the page has.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import transformers

from docs.techniques.decoding import chart, refresh
from pie_core.controller import Controller, find_model
from pie_core.plugins import Selection
from pie_core.testing.run import run_inferlet
from tests.techniques.running import serving

HERE = Path(__file__).parent
DELTAS = (0, 1, 2, 4, 8)
SEEDS = range(8)
LENGTHS = range(20, 201, 20)  # tokens
COLORS = {
    "delta 8": "#2f5fa8",
    "delta 4": "#2a7f3f",
    "delta 2": "#b07a30",
    "delta 0": "#b03030",
}  # those of the picture


def main() -> None:
    """The page and its picture."""
    scores = asyncio.run(measured())
    whole = {delta: [of[-1] for of in texts] for delta, texts in scores.items()}
    table = [["`--delta`", *map(str, DELTAS)]]
    for name, of in (("least z", min), ("mean z", mean), ("most z", max)):
        table.append([name, *(f"{of(values):.1f}" for values in whole.values())])
    refresh("watermarking", table)
    means = {delta: [round(mean(at), 1) for at in zip(*texts, strict=True)] for delta, texts in scores.items()}
    lines = {name: means[int(name.split()[1])] for name in COLORS}
    title = f"mean z of {len(SEEDS)} texts, by the tokens looked at"
    (HERE / "watermarking.svg").write_text(chart(title, [*map(str, LENGTHS)], lines, COLORS))


async def measured() -> dict[int, list[list[float]]]:
    """For each bias and each seed, z by length."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(find_model("pico", Selection()).path)
    async with serving() as controller:
        scores = {}
        for delta in DELTAS:
            printed = await run_all(controller, [[f"--delta={delta}", f"--seed={seed}"] for seed in SEEDS])
            scores[delta] = []
            for output in printed:
                tokens = tokenizer(output.rpartition("\n[")[0], add_special_tokens=False)["input_ids"]
                beginnings = [tokenizer.decode(tokens[:length]) for length in LENGTHS]
                looked = await run_all(controller, [[f"--detect={text}"] for text in beginnings])
                scores[delta].append([float(re.findall(r"z = (-?[\d.]+):", found)[-1]) for found in looked])
        return scores


async def run_all(controller: Controller, runs: Sequence[Sequence[str]]) -> list[str]:
    """What the program prints with these flags, all at once."""
    path, models = controller.programs["watermarking"], controller.models
    outcomes = await asyncio.gather(*(run_inferlet(path, flags, models=models) for flags in runs))
    return [outcome.output for outcome in outcomes]


if __name__ == "__main__":
    main()
