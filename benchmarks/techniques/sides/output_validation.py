"""Validation line by line, against a client that completes, checks with the same code and asks again.

Once it asks for the whole answer again, as libraries for this do; once it keeps the good lines and asks for the rest.
Lines are drawn, so how often one is wrong is luck, the same in every round: a client asks many questions, one after the
other, and even so the figure of eight clients says more.
"""

import asyncio
import runpy
from collections.abc import Awaitable, Callable
from functools import cache
from itertools import count
from typing import Any

from pie_core.application.program import find_program
from techniques.bench import Bench
from techniques.form import Baseline, Side, Technique

SUMS = ("(8 - 3) * 6 + 12", "(3 + 4) * 2", "9 + 4 * (7 - 2)", "(6 + 5) * 3 - 8", "2 * (9 - 4) + 17", "(4 + 8) * 2 - 5")
TIMES = 2  # that each is asked
TEMPERATURE, TOKENS = 1.5, 96

Answer = Callable[[Bench, str, int], Awaitable[str]]
"""The last line for a question, with draws that a number seeds."""


def side(answer: Answer) -> Side:
    """Each client asks all sums, with seeds of its own."""

    async def client(bench: Bench, number: int) -> str:
        questions = enumerate(f"What is {each}?" for each in SUMS * TIMES)
        return " ".join([await answer(bench, question, 1000 * number + 100 * at) for at, question in questions])

    async def all_clients(bench: Bench, clients: int) -> list[str]:
        return await asyncio.gather(*(client(bench, number) for number in range(clients)))

    return all_clients


async def ours(bench: Bench, question: str, seed: int) -> str:
    flags = [f"--prompt={question}", f"--temperature={TEMPERATURE}", f"--seed={seed}"]
    (text,) = await bench.run("output_validation", [flags])
    return text.splitlines()[-2]


@cache
def checks() -> Any:
    """`check` of the program. It can be had when a controller is up: programs import the calls of its traits."""
    return runpy.run_path(find_program("output_validation").filename)["check"]


def again(keep_lines: bool) -> Answer:
    """A client that asks again, and may send the good lines along."""

    async def answer(bench: Bench, question: str, seed: int) -> str:
        check, lines = checks(), list[str]()
        for number in count(seed):
            prompt = bench.chat(question) + "".join(f"{line}\n" for line in lines)
            drawing = (f"--temperature={TEMPERATURE}", f"--seed={number}")
            (text,) = await bench.complete([prompt], TOKENS, *drawing)
            for line in text.splitlines():
                if not check(line, lines, question):
                    break
                lines.append(line)
            if lines and lines[-1].startswith("Answer"):
                return lines[-1]
            lines = lines if keep_lines else []
        raise AssertionError

    return answer


TECHNIQUES = [
    Technique(
        "output validation",
        side(ours),
        {
            "client-side loop": Baseline(side(again(keep_lines=False))),
            "client-side loop, good lines sent along": Baseline(side(again(keep_lines=True))),
        },
    )
]
