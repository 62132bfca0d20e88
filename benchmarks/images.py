"""Images a second: programs that describe pictures, against transformers with the same checkpoint in the same process.

    python benchmarks/images.py [--model DIRECTORY] [--at-once 1,8] [--tokens 16] [--rounds 5]

One row for each number of pictures at once: seconds for all of them, median of the rounds, from the bytes of the files
to the last token, with greedy decoding of the same number of tokens. `transformers` takes one picture after the other,
`transformers_batched` all of them in one batch. Every round has pictures that nobody has seen. Without a model it is a
random LLaVA of 30 million parameters: only the shapes count.
"""

from __future__ import annotations

import asyncio
import io
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch
from checkpoints import make_llava
from pie_traits_image.testing.pictures import encoded, picture
from PIL import Image
from report import emit, machine
from transformers import AutoModelForImageTextToText, AutoProcessor

from pie_core.controller import Controller, Settings
from pie_core.testing.run import run_inferlet

PROGRAM = """
from inferlet import *

async def main():
    with get_auto_model().create_context() as context:
        await context.fill_image(await receive_blob())
        await context.fill("Describe the picture.")
        answer = []
        for _ in range(int(get_arg()[0])):
            answer.append((await context.next_dist(1)).max_index())
            context.fill_tokens(answer[-1:])
        return str(answer)
"""
SIZES = ((320, 240), (240, 320), (640, 480), (200, 200))


def files(count: int, seed: int) -> list[bytes]:
    """Pictures of several sizes, as JPEG."""
    return [encoded(picture(*SIZES[n % len(SIZES)], seed * 1000 + n), "JPEG", quality=90) for n in range(count)]


class Transformers:
    """The other side."""

    def __init__(self, path: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self.model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32).eval()
        self.processor = AutoProcessor.from_pretrained(path)
        self.text = f"{self.processor.image_token}Describe the picture."

    def answer(self, blobs: Sequence[bytes], tokens: int) -> list[list[int]]:
        """In one batch."""
        images = [[Image.open(io.BytesIO(blob))] for blob in blobs]
        inputs = self.processor(text=[self.text] * len(blobs), images=images, return_tensors="pt")
        with torch.inference_mode():
            made = self.model.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
        found: list[list[int]] = made[:, inputs["input_ids"].shape[1] :].tolist()
        return found


async def measure(path: Path, sizes: Sequence[int], tokens: int, rounds: int, threads: int) -> None:
    """Both sides in turn, so that whatever else the machine does meets both."""
    theirs = Transformers(path, threads)
    options = {"pages": "1024", "embeds": "8192", "dtype": "float32", "threads": str(threads)}
    async with Controller(Settings(str(path), "torch", options, tier="native")) as controller:

        async def ours(blobs: Sequence[bytes]) -> list[str | None]:
            runs = [run_inferlet(PROGRAM, [str(tokens)], models=controller.models, blobs=[blob]) for blob in blobs]
            return [outcome.ended.value for outcome in await asyncio.gather(*runs)]

        for count in sizes:
            taken: dict[str, list[float]] = {"pie": [], "transformers": [], "transformers_batched": []}
            same = 0
            for seed in range(rounds + 1):
                blobs = files(count, seed)
                started = time.perf_counter()
                answers = await ours(blobs)
                taken["pie"].append(time.perf_counter() - started)
                single = timed(taken["transformers"], lambda b=blobs: [theirs.answer([one], tokens)[0] for one in b])
                timed(taken["transformers_batched"], lambda b=blobs: theirs.answer(b, tokens))
                same += sum(str(one) == other for one, other in zip(single, answers, strict=True))
            medians = {name: statistics.median(times[1:]) for name, times in taken.items()}  # the first one warms up
            emit(
                {
                    "benchmark": "images",
                    "at_once": count,
                    "tokens": tokens,
                    **{f"{name}_s": round(seconds, 4) for name, seconds in medians.items()},
                    **{f"{name}_images_per_s": round(count / seconds, 2) for name, seconds in medians.items()},
                    "same_answers": f"{same} of {count * (rounds + 1)}",
                    "threads": threads,
                    **machine(),
                }
            )


def timed(times: list[float], work: Callable[[], Any]) -> Any:
    """The result, and the time it took."""
    started = time.perf_counter()
    result = work()
    times.append(time.perf_counter() - started)
    return result


@click.command(help=__doc__)
@click.option("--model", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--at-once", default="1,8")
@click.option("--tokens", default=16)
@click.option("--rounds", default=5)
@click.option("--threads", default=2)
def main(model: Path | None, at_once: str, tokens: int, rounds: int, threads: int) -> None:
    """Entry point."""
    with ExitStack() as stack:
        path = model or make_llava(Path(stack.enter_context(TemporaryDirectory())))
        asyncio.run(measure(path, [int(part) for part in at_once.split(",")], tokens, rounds, threads))


if __name__ == "__main__":
    main()
