"""Skeleton of thought, against the same by requests: the outline, then all points at once."""

import asyncio
import re

from techniques.bench import Bench
from techniques.form import Technique
from techniques.loops import Ask, baselines

QUESTIONS = ("Give an outline in 5 points about honey bees.", "Give an outline in 4 points about old bridges.")
POINT = re.compile(r"(\d+)\. (.+)")


async def ours(bench: Bench, clients: int) -> list[str]:
    questions = [QUESTIONS[number % len(QUESTIONS)] for number in range(clients)]
    return await bench.run("skeleton_of_thought", [[f"--question={question}"] for question in questions])


async def loop(bench: Bench, ask: Ask, number: int) -> str:
    question = QUESTIONS[number % len(QUESTIONS)]
    skeleton = await ask(bench.chat(question), 200)
    points = [match.groups() for line in skeleton.splitlines() if (match := POINT.fullmatch(line))]
    prompts = [bench.chat(question, skeleton, f"Expand point {number}.") for number, _ in points]
    texts = await asyncio.gather(*(ask(prompt, 100) for prompt in prompts))
    return "".join(f"{n}. {title}\n   {text}\n" for (n, title), text in zip(points, texts, strict=True))


TECHNIQUES = [Technique("skeleton of thought", ours, baselines(loop, aim=0.7))]
