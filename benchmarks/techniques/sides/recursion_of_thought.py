"""Recursion of thought, against the same by requests: one for each thing that a context asks, one for its answer.

A client that stops the model at the `=` would need one request more for each answer, so it stops at the end of the
line, and puts the right result in the place of the one that the model has made up.
"""

from techniques.bench import Bench
from techniques.form import Technique
from techniques.loops import Ask, baselines

EXPRESSIONS = {  # and as the model is asked
    "((3 + 4) * (10 - 8) - 6) * 5 - (30 - (2 + 3) * 4)": (
        "( ( ( ( 3 + 4 ) * ( 10 - 8 ) ) - 6 ) * 5 ) - ( 30 - ( ( 2 + 3 ) * 4 ) )"
    ),
    "((1+2)*3+4) - 6 - 7 + 2*3*2": "( ( ( ( ( 1 + 2 ) * 3 ) + 4 ) - 6 ) - 7 ) + ( ( 2 * 3 ) * 2 )",
    "(9 - (8 - (7 - (6 - 5)))) * (2 * 3 + 5)": "( 9 - ( 8 - ( 7 - ( 6 - 5 ) ) ) ) * ( ( 2 * 3 ) + 5 )",
}
LONGEST = 120  # tokens of a line


async def ours(bench: Bench, clients: int) -> list[str]:
    expressions = [[*EXPRESSIONS][number % len(EXPRESSIONS)] for number in range(clients)]
    found = await bench.run("recursion_of_thought", [[f"--expression={each}"] for each in expressions])
    return ["\n".join(line.strip() for line in text.splitlines()[:-2]) for text in found]


async def loop(bench: Bench, ask: Ask, number: int) -> str:
    """What was computed, in order."""
    lines: list[str] = []
    await solve(ask, [*EXPRESSIONS.values()][number % len(EXPRESSIONS)], lines)
    return "\n".join(lines)


async def solve(ask: Ask, question: str, lines: list[str]) -> str:
    context = f"Question: {question}\n"
    while (said := await ask(context, LONGEST, "\n")).startswith("Think:"):
        part = said[: said.index("=")].removeprefix("Think:").strip()
        context += f"Think: {part} = {await solve(ask, part, lines)}\n"
    answer = said.rsplit("=", 1)[1].strip()
    lines.append(f"{question} = {answer}")
    return answer


TECHNIQUES = [Technique("recursion of thought", ours, baselines(loop))]
