"""ReAct, against the same by requests: one for each thought, which ends at `Observation:`. Tools are over HTTP for all.

The tool server is a process of its own, at the loopback port that the program's manifest names.
"""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote
from urllib.request import urlopen

from techniques.bench import TOOLS, Bench
from techniques.form import Technique
from techniques.loops import Ask, baselines

QUESTIONS = (
    "How old is the bridge?",
    "How warm is it in the capital of Norway?",
    "How much do 12 lamps cost?",
    "Anna has 23 boxes with 45 apples each. How many apples are there?",
)
SYSTEM = "Use the tools calculator[expression], lookup[key] and clock[what]."
ACTION = re.compile(r"Action: (\w+)\[(.*)\]\nObservation:$")


@contextmanager
def tools() -> Iterator[str]:
    """A running tool server; its URL."""
    host, port = TOOLS.split(":")
    command = [sys.executable, "-m", "pie_inferlets.tools", f"--host={host}", f"--port={port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        if not server.stdout.readline():  # it says where it is when it is there
            raise RuntimeError(f"no tool server: is the port of {TOOLS} in use?")
        try:
            yield f"http://{TOOLS}"
        finally:
            server.terminate()


async def ours(bench: Bench, clients: int) -> list[str]:
    url = bench.keep(tools)
    questions = [QUESTIONS[number % len(QUESTIONS)] for number in range(clients)]
    return await bench.run("react_agent", [[f"--question={question}", f"--tools={url}"] for question in questions])


async def loop(bench: Bench, ask: Ask, number: int) -> str:
    url = bench.keep(tools)
    prompt, text = bench.chat(QUESTIONS[number % len(QUESTIONS)], system=SYSTEM), ""
    while True:
        text += await ask(prompt + text, 200, "Observation:")
        action = ACTION.search(text)
        if action is None:
            return f"{text}\n"
        text += f" {await asyncio.to_thread(observe, url, *action.groups())}\n"


def observe(url: str, tool: str, argument: str) -> str:
    """What the tool answers."""
    field = {"lookup": "key", "clock": "what"}.get(tool)
    request = f"{url}/{tool}?{field}={quote(argument)}" if field else f"{url}/{tool}"
    with urlopen(request, None if field else argument.encode()) as response:
        return str(response.read().decode())


TECHNIQUES = [Technique("ReAct agent", ours, baselines(loop))]
