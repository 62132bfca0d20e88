"""The sides of `decode.py`: who continues prompts, without early end, and greedily where they do not say otherwise."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from pie_backend_torch.loop import greedy
from pie_traits_decode.steps import Decode
from pie_traits_text.forward import Forward
from pie_traits_text.input_text import EmbedTxt

from pie_core import UNFINISHED, Command, Embed, KvPage
from pie_core.application.application import Application
from pie_core.application.events import Ended
from pie_core.application.program import Program
from pie_core.controller import Controller
from pie_core.loaded import LoadedModel

TOGETHER = 8  # prompts of a pass
Prompts = list[list[int]]
Generate = Callable[[Prompts, int], list[list[int]]]
"""Continues each prompt by as many tokens as is said."""

PROGRAM = """
import json, math
from inferlet import *

async def main():
    steps, prompt = json.loads(get_arg()[0])
    model = get_auto_model()
    q = model.create_queue()
    n = len(prompt)
    pages = alloc_kvpage(q, math.ceil((n + steps) / model.kvpage_size))
    embs, last = alloc_emb(q, n), alloc_emb(q, 1)
    embed_txt(q, prompt, list(range(n)), embs)
    forward(q, [], embs, pages, last)
    answer = []
    LOOP
    return json.dumps(answer)
"""
OWN = "own loop"
DRAWN = "inferlets, decode, temperature 0.8"
LOOPS = {
    "inferlets": """
    for position in range(n, n + steps):
        answer.append((await get_next_dist(q, last, 1)).max_index())
        if len(answer) < steps:
            embed_txt(q, answer[-1], position, last)
            forward(q, pages, last, pages, last)
""",
    "inferlets, sample": """
    for position in range(n, n + steps):
        answer.append(await sample(q, last, last))
        if len(answer) < steps:
            forward(q, pages, last, pages, last)
""",
    "inferlets, decode": """
    answer = await decode(q, pages, last, pages, last, steps)
""",
    DRAWN: """
    settings = {"temperature": 0.8, "top_k": 50, "top_p": 0.95, "seed": prompt[0]}
    answer = await decode(q, pages, last, pages, last, steps, **settings)
""",
}


def sides_of(
    controller: Controller, loop: asyncio.AbstractEventLoop, path: Path, dtype: torch.dtype, device: str, length: int
) -> dict[str, Callable[[], Generate]]:
    """How to make each side, by its name, for sequences of up to `length` tokens."""
    loaded = next(iter(controller.models.values()))
    return {
        "transformers": partial(transformers_generate, path, dtype, device),
        OWN: lambda: partial(greedy, loaded.backend),
        "steps alone": partial(steps_alone, loaded),
        **{how: partial(driven_by_inferlets, controller.application, loop, how) for how in LOOPS},
        "transformers, continuous batching": partial(transformers_continuous, path, dtype, device, length),
    }


def transformers_generate(path: Path, dtype: torch.dtype, device: str) -> Generate:
    """The baseline: transformers with SDPA and its own cache."""
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="sdpa")
    model = model.eval().to(device)

    def generate(prompts: Prompts, steps: int) -> list[list[int]]:
        ids = torch.tensor(prompts, device=device)
        with torch.no_grad():
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=steps,
                min_new_tokens=steps,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )
        return out[:, ids.shape[1] :].tolist()

    return generate


def transformers_continuous(path: Path, dtype: torch.dtype, device: str, length: int) -> Generate:
    """The other baseline: requests join and leave batches over a paged cache. length: of the longest sequence.

    With a manager that is kept as long as there are as many prompts. Its settings are its own but for the size of its
    cache, which is that of the work (otherwise it takes nine tenths of the memory and a minute to begin, and on a CPU a
    step costs the more the larger it is), and on a CPU that of its pages: of 16 tokens, with which SDPA is ten times as
    quick as with its 256.
    """
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)
    kinds = transformers.ContinuousBatchingConfig.__dataclass_fields__
    size = "page_size" if "page_size" in kinds else "block_size"  # the latter in older transformers
    kept: dict[int, Any] = {}

    def load(most: int) -> tuple[Any, Any]:
        sizes = transformers.ContinuousBatchingConfig(**({size: 16} if device == "cpu" else {}))
        sizes.num_blocks = most * -(-length // getattr(sizes, size)) + 1
        sizes.max_batch_tokens = max(512, most)
        model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="sdpa")
        return model.eval().to(device), sizes

    def generate(prompts: Prompts, steps: int) -> list[list[int]]:
        if len(prompts) not in kept:
            kept.clear()
            kept[len(prompts)] = load(len(prompts))
        model, sizes = kept[len(prompts)]
        settings = transformers.GenerationConfig(max_new_tokens=steps, do_sample=False, eos_token_id=-1, pad_token_id=0)
        told = model.generate_batch(
            prompts, settings, continuous_batching_config=sizes, persistent_manager=True, warmup=False
        )
        return [told[name].generated_tokens for name in sorted(told, key=lambda name: int(name.rpartition("_")[2]))]

    return generate


def steps_alone(loaded: LoadedModel) -> Generate:
    """The handler of `decode` over pages from the bottom of the pool, as nobody else uses them."""
    routes, backend = loaded.realization.routes, loaded.backend
    size = backend.info.kvpage_size

    def start(place: int, prompt: list[int], steps: int) -> tuple[Command, Command, Decode]:
        count = -(-(len(prompt) + steps) // size)
        pages = tuple(KvPage(size) for _ in range(count))
        for at, page in enumerate(pages):
            page.index = place * count + at
        embeds = tuple(Embed() for _ in prompt)
        for at, embed in enumerate(embeds):
            embed.index = place * len(prompt) + at
        embed = EmbedTxt(prompt, list(range(len(prompt))), embeds)
        forward = Forward((), embeds, pages, embeds[-1:])
        decode = Decode(pages, embeds[-1:], pages, embeds[-1:], steps)
        for command in (embed, forward, decode):
            command.prepare(backend.info)
        return embed, forward, decode

    def generate(prompts: Prompts, steps: int) -> list[list[int]]:
        started = [start(place, prompt, steps) for place, prompt in enumerate(prompts)]
        for at in range(0, len(started), TOGETHER):
            embeds, forwards, _ = zip(*started[at : at + TOGETHER], strict=True)
            routes[EmbedTxt](embeds)
            routes[Forward](forwards)
        commands = [decode for *_, decode in started]
        answers: list[Any] = [UNFINISHED] * len(commands)
        while going := [at for at, answer in enumerate(answers) if answer is UNFINISHED]:
            for at, answer in zip(going, routes[Decode]([commands[at] for at in going]), strict=True):
                answers[at] = answer
        return answers

    return generate


def driven_by_inferlets(application: Application, loop: asyncio.AbstractEventLoop, how: str) -> Generate:
    """One inferlet for each prompt, all at once."""
    program = Program("decode", PROGRAM.replace("    LOOP\n", LOOPS[how]), "decode_sides.py")

    async def run(prompts: Prompts, steps: int) -> list[list[int]]:
        inferlets = [await application.launch(program, [json.dumps([steps, prompt])]) for prompt in prompts]
        answers = []
        for inferlet in inferlets:
            arrived = asyncio.Event()
            inferlet.ended.watch(lambda _, arrived=arrived: arrived.set())
            await arrived.wait()
            outcome = inferlet.outcome
            assert isinstance(outcome, Ended) and outcome.value is not None, outcome
            answers.append(json.loads(outcome.value))
        return answers

    return lambda prompts, steps: loop.run_until_complete(run(prompts, steps))
