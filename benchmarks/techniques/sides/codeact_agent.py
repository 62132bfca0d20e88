"""CodeAct, against the same by requests: one for each thought, which ends at `Output:`.

The client runs the model's code by `exec` in its own process. Nothing contains it there: what the tasks here make the
model write is known to be harmless. Our program has it run in a sandbox, a new one for each agent, with limits.
"""

import contextlib
import io
import re
from typing import Any

from techniques.bench import Bench
from techniques.form import Technique
from techniques.loops import Ask, baselines

QUESTIONS = (
    "What is the sum of the squares of the even numbers from 1 to 20?",
    "Add the numbers in this text: 3 pear 5",
)
SYSTEM = "You can run Python code. Write Thought, Code, Output and Answer."
CODE = re.compile(r"Code:\n((?:(?!\nOutput:).)*)\nOutput:$", re.DOTALL)


async def ours(bench: Bench, clients: int) -> list[str]:
    questions = [QUESTIONS[number % len(QUESTIONS)] for number in range(clients)]
    return await bench.run("codeact_agent", [[f"--question={question}"] for question in questions])


async def loop(bench: Bench, ask: Ask, number: int) -> str:
    prompt, text = bench.chat(QUESTIONS[number % len(QUESTIONS)], system=SYSTEM), ""
    variables: dict[str, Any] = {"__name__": "__main__"}
    while True:
        said = await ask(prompt + text, 400, "\nOutput:")
        text += said
        code = CODE.search(said)
        if code is None:
            return f"{text}\n"
        text += f" {run(code[1], variables)}\n"


def run(code: str, variables: dict[str, Any]) -> str:
    """What trusted code prints, and its error."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "<code>", "exec"), variables)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=printed)
    return printed.getvalue().rstrip("\n") or "(no output)"


TECHNIQUES = [Technique("CodeAct agent", ours, baselines(loop))]
