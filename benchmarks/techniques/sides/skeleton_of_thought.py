"""Skeleton of thought, against the same by requests: the outline, then all points at once."""

import asyncio
import re

from techniques.bench import Bench
from techniques.form import Side, Technique
from techniques.loops import Ask, Loop, baselines

TEXT = "Honey bees live in hives. Old bridges cross slow rivers. " * 14  # what the model can read before a question
TASKS = {
    "skeleton of thought": "",
    "skeleton of thought, on a text": f"{TEXT}\n",
}
QUESTIONS = ("Give an outline in 5 points about honey bees.", "Give an outline in 4 points about old bridges.")
POINT = re.compile(r"(\d+)\. (.+)")


def ours(text: str) -> Side:
    async def side(bench: Bench, clients: int) -> list[str]:
        questions = [text + QUESTIONS[number % len(QUESTIONS)] for number in range(clients)]
        return await bench.run("skeleton_of_thought", [[f"--question={question}"] for question in questions])

    return side


def loop(text: str) -> Loop:
    async def run(bench: Bench, ask: Ask, number: int) -> str:
        question = text + QUESTIONS[number % len(QUESTIONS)]
        skeleton = await ask(bench.chat(question), 200)
        points = [match.groups() for line in skeleton.splitlines() if (match := POINT.fullmatch(line))]
        prompts = [bench.chat(question, skeleton, f"Expand point {number}.") for number, _ in points]
        texts = await asyncio.gather(*(ask(prompt, 100) for prompt in prompts))
        return "".join(f"{n}. {title}\n   {text}\n" for (n, title), text in zip(points, texts, strict=True))

    return run


TECHNIQUES = [Technique(task, ours(text), baselines(loop(text), aim=0.7)) for task, text in TASKS.items()]
