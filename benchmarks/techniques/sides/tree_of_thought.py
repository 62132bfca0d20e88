"""Tree of thought, against the same search by requests: for all states of a level at once, then for all branches."""

import asyncio
import re

from techniques.bench import Bench
from techniques.form import Technique
from techniques.loops import Ask, baselines

PUZZLES = ("1 3 4 5", "2 4 6", "1 2 3 4", "3 3 8 8")
RULES = "Use each number once with + - * to make 24.\n"
STEP = re.compile(r"\d+ [-+*] \d+ = \d+ left (\d+(?: \d+)*)")
KEPT = re.compile(r"  \+ \w+ +(.*)")
VERDICTS = ("impossible", "likely", "sure")
BREADTH = 3


async def ours(bench: Bench, clients: int) -> list[str]:
    puzzles = [PUZZLES[number % len(PUZZLES)] for number in range(clients)]
    found = await bench.run("tree_of_thought", [[f"--numbers={each}", f"--breadth={BREADTH}"] for each in puzzles])
    return ["\n".join(KEPT.findall(text)) for text in found]


async def loop(bench: Bench, ask: Ask, number: int) -> str:
    """The steps of each state that was kept, level for level."""
    prefix = f"{RULES}Numbers: {PUZZLES[number % len(PUZZLES)]}\n"
    level, kept = [""], []
    while level:
        listed = await asyncio.gather(*(ask(f"{prefix}{steps}Steps:\n", 400) for steps in level))
        branches = grown(level, listed)
        thoughts = await asyncio.gather(*(ask(f"{prefix}{steps}Value:", 40) for steps in branches.values()))
        grades = {left: grade(thought) for left, thought in zip(branches, thoughts, strict=True)}
        best = [left for left in sorted(grades, key=lambda left: -grades[left])[:BREADTH] if grades[left]]
        kept += [branches[left] for left in best]
        level = [branches[left] for left in best] if best and " " in best[0] else []
    return "\n".join("; ".join(steps.splitlines()) for steps in kept)


def grown(level: list[str], listed: list[str]) -> dict[str, str]:
    """The steps so far by what they leave: the first way there."""
    branches: dict[str, str] = {}
    for steps, text in zip(level, listed, strict=True):
        for line in text.splitlines():
            if match := STEP.fullmatch(line):
                branches.setdefault(match[1], f"{steps}{line}\n")
    return branches


def grade(thought: str) -> int:
    last = (thought.split() or [""])[-1]
    return VERDICTS.index(last) if last in VERDICTS else 0


TECHNIQUES = [Technique("tree of thought", ours, baselines(loop, aim=0.7))]
