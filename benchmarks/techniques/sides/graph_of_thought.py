"""Graph of thought, against the same graph by requests: the parts, then the merges of a level are asked for at once."""

import asyncio
from collections import Counter
from itertools import pairwise

from techniques.bench import Bench
from techniques.form import Technique
from techniques.loops import Ask, baselines

LISTS = (
    "4 1 9 3 9 9 5 4 6 4 8 0 2 0 6 6 2 1 8 1 3 1 1 0 2 3 1 3 0 8 7 7",
    "5 1 8 3 9 2 7 7 0 4 6 1 3 3 8 5 2 9 6 0 1 4 7 2 8 8 0 5 3 6 4 9",
)
PART, ATTEMPTS = 8, 2


async def ours(bench: Bench, clients: int) -> list[str]:
    given = [f"--digits={LISTS[number % len(LISTS)]}" for number in range(clients)]
    found = await bench.run("graph_of_thought", [[digits, f"--part={PART}"] for digits in given])
    return [text.splitlines()[-2].removeprefix("Sorted: ") for text in found]


async def loop(bench: Bench, ask: Ask, number: int) -> str:
    digits = LISTS[number % len(LISTS)].split()
    parts = [digits[start : start + PART] for start in range(0, len(digits), PART)]
    lists = await asyncio.gather(*(thought(ask, f"Sort: {' '.join(part)}\nSorted:", part) for part in parts))
    while len(lists) > 1:
        lists = await asyncio.gather(*(merge(ask, *lists[start : start + 2]) for start in range(0, len(lists), 2)))
    return " ".join(lists[0])


async def merge(ask: Ask, one: list[str], *others: list[str]) -> list[str]:
    """One list of two; a list without a partner stays."""
    for other in others:
        return await thought(ask, f"Merge: {' '.join(one)} and {' '.join(other)}\nMerged:", one + other)
    return one


async def thought(ask: Ask, prompt: str, given: list[str]) -> list[str]:
    """The best draft, corrected while there are errors."""
    longest, drafts = 2 * len(given) + 8, 0
    best = (await ask(prompt, longest)).split()
    while errors(given, best) and drafts < ATTEMPTS:
        draft, drafts = (await ask(f"{prompt} {' '.join(best)}\nImproved:", longest)).split(), drafts + 1
        best = min(best, draft, key=lambda each: errors(given, each))
    return best


def errors(given: list[str], answer: list[str]) -> int:
    """Neighbours out of order, and how many of each digit are too many or too few."""
    lost, added = Counter(given), Counter(answer)
    return sum(one > other for one, other in pairwise(answer)) + (lost - added).total() + (added - lost).total()


TECHNIQUES = [Technique("graph of thought", ours, baselines(loop, aim=0.7))]
