"""Swarm agents, against the same roles by requests: one to the planner, the parts at once, one to the writer."""

import asyncio

from techniques.bench import Bench
from techniques.form import Technique
from techniques.loops import Ask, baselines

QUESTIONS = (
    "What is 12 + 30, what is the capital of Italy and what is stone in uppercase?",
    "What is lamp in uppercase, what is the capital of Peru, what is 8 * 7 and what is 40 - 13?",
)
WORKERS = ("geographer", "mathematician", "editor")
HAND_OVER = "Hand over to "
LONGEST = 200  # tokens of an answer


async def ours(bench: Bench, clients: int) -> list[str]:
    questions = [QUESTIONS[number % len(QUESTIONS)] for number in range(clients)]
    return await bench.run("swarm_agents", [[f"--question={question}"] for question in questions])


async def loop(bench: Bench, ask: Ask, number: int) -> str:
    planner, writer = "You are the planner. Split the question.", "You are the writer. Join the answers."
    plan = await ask(bench.chat(QUESTIONS[number % len(QUESTIONS)], system=planner), LONGEST)
    parts = [line for line in plan.splitlines() if line]
    told = await asyncio.gather(*(work(bench, ask, number, part) for number, part in enumerate(parts)))
    answers = "\n".join(answer for _, answer in told)
    lines = [f"{part} [{' -> '.join(hands)}] {answer}" for part, (hands, answer) in zip(parts, told, strict=True)]
    return "\n".join([*lines, f"Answer: {await ask(bench.chat(answers, system=writer), LONGEST)}", ""])


async def work(bench: Bench, ask: Ask, number: int, part: str) -> tuple[list[str], str]:
    """Who had a part in hands, and what the last of them says."""
    hands = [WORKERS[number % len(WORKERS)]]
    while True:
        others = " or ".join(worker for worker in WORKERS if worker != hands[-1])
        system = f"You are the {hands[-1]}. Answer, or hand over to {others}."
        said = (await ask(bench.chat(part, system=system), LONGEST)).strip()
        if not said.startswith(HAND_OVER):
            return hands, said
        hands.append(said.removeprefix(HAND_OVER).removesuffix("."))


TECHNIQUES = [Technique("swarm agents", ours, baselines(loop))]
