"""CodeAct: right answers by code that the model has written, and hostile code that harms nobody and is reported.

What is right, Python says here, by other code than the model's.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from pie_core.application.capabilities import Capabilities
from pie_core.application.native import NativeTier
from pie_core.application.program import find_program
from pie_core.application.wasm.tier import WasmTier

from .conftest import Reference
from .running import Ran, run, run_on, serving

SYSTEM = "You can run Python code. Write Thought, Code, Output and Answer."


def run_all(runs: list[list[str]], sandboxed: bool = False, program: str | Path = "codeact_agent") -> list[Ran]:
    """With these arguments each, on a server that trusts programs, or on one that does not."""

    async def go() -> list[Ran]:
        async with serving() as controller:
            (model,) = controller.models.values()
            how: dict[str, Any] = {"capabilities": Capabilities.of(spawn=True)}
            how["sandbox"] = lambda: WasmTier(model.known_traits)
            tiers = [WasmTier(model.known_traits) if sandboxed else NativeTier() for _ in runs]
            return [
                await run_on(controller, program, *arguments, tier=tier, **how)
                for arguments, tier in zip(runs, tiers, strict=True)
            ]

    return asyncio.run(go())


def is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1))


QUESTIONS = {
    "What is the sum of the squares of the even numbers from 1 to 20?": 10 * 11 * 21 * 4 // 6,
    "How many primes from 1 to 100 are there?": sum(map(is_prime, range(101))),
    "What is the largest of the multiples of 7 from 1 to 100?": 98,
    "How many r are in strawberry?": 3,
    "What is 10 factorial?": math.factorial(10),
    "What are the odd numbers in 8, 3, 12, 7?": [3, 7],
}


def test_answers_are_right() -> None:
    runs = run_all([["--question", question] for question in QUESTIONS])
    assert [ran.output.splitlines()[-1] for ran in runs] == [f"Answer: {answer}" for answer in QUESTIONS.values()]


def test_an_error_is_read_and_the_code_corrected_where_its_variables_still_are() -> None:
    (ran,) = run_all([["--question", "Add the numbers in this text: 3 pear 5"]])
    first, second = ran.output.split("Output: ")[0::2][:2]
    assert "Output: ValueError: invalid literal for int() with base 10: 'pear'" in ran.output
    assert "words =" in first and "words =" not in second.partition("Code:")[2]
    assert ran.output.endswith("Answer: 8\n")


def test_no_token_is_computed_twice(reference: Reference) -> None:
    """All that was run is the transcript: the prompt, what the model said, and the outputs."""
    question = "Add the numbers in this text: 3 pear 5"
    (ran,) = run_all([["--question", question]])
    pieces = re.split(r"(?<=Output:)( .*\n)", ran.output.removesuffix("\n"))
    assert len(pieces) == 5
    prompt = f"<|system|>{SYSTEM}<|user|>{question}<|assistant|>"
    assert ran.cost.tokens == sum(len(reference.encode(piece)) for piece in [prompt, *pieces])


# hostile code


ATTACKS = {
    "while True:\n    pass": "ResourceError",
    "x = 'a' * 10 ** 9": "MemoryError",
    'print(open("/etc/passwd").read())': "FileNotFoundError",
    'import socket\nsocket.create_connection(("127.0.0.1", PORT))': "ModuleNotFoundError",
}


@pytest.mark.parametrize("sandboxed", [False, True], ids=["on a server that trusts", "in the sandbox"])
def test_hostile_code_is_contained_and_the_agent_is_told(sandboxed: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        codes = [code.replace("PORT", str(listening.getsockname()[1])) for code in ATTACKS]
        runs = run_all([["--question", f"Run this code:\n{code}", "--cpu-s", "1"] for code in codes], sandboxed)
        with pytest.raises(BlockingIOError):
            listening.accept()
    for code, error, ran in zip(codes, ATTACKS.values(), runs, strict=True):
        assert f"Code:\n{code}\nOutput: {error}" in ran.output
        assert ran.output.endswith(f"Thought: The code failed.\nAnswer: The code failed with {error}.\n")


DRIVER = """
async def main():
    import json
    interpreter = Interpreter({"cpu_s": 1.0, "memory_bytes": 48 << 20, "kvpages": 0, "embeds": 0}, PATIENCE)
    for code in json.loads(flags()["question"]):
        print(json.dumps(shortened(await interpreter.run(code))))
"""


def interpret(directory: Path, *codes: str, patience: float = 100.0) -> list[str]:
    """What the program's interpreter makes of code, run after run."""
    source = (
        Path(find_program("codeact_agent").filename)
        .read_text()
        .replace("async def main():\n    options", "async def agent():\n    options")
    )
    path = directory / "driver.py"
    path.write_text(source + DRIVER.replace("PATIENCE", str(patience)))
    (ran,) = run_all([["--question", json.dumps(codes)]], program=path)
    return [json.loads(line) for line in ran.output.splitlines()]


def test_variables_stay_until_code_ends_its_interpreter(tmp_path: Path) -> None:
    outputs = interpret(
        tmp_path, "x = 5", "print(x)\nprint('two')", "print(y)", "1 +", "while True: pass", "print(x)", "print(6)"
    )
    assert outputs[:2] == ["(no output)", "5\ntwo"]
    assert outputs[2] == "NameError: name 'y' is not defined"
    assert outputs[3].startswith("SyntaxError: invalid syntax")
    assert outputs[4].startswith("ResourceError: ") and outputs[4].endswith("more than the 1 s that the limits allow")
    assert outputs[5:] == ["NameError: name 'x' is not defined", "6"]


HOSTILE = {
    "sum(range(10 ** 13))": "ResourceError",
    "10 ** 10 ** 9": "ResourceError MemoryError OverflowError",
    "x = []\nwhile True: x.append(x * 2)": "MemoryError ResourceError",
    "x = bytearray(10 ** 9)": "MemoryError",
    "def f(): f()\nf()": "RecursionError",
    "while True: print('a' * 1000)": "OverflowError",
    "open('HERE/made', 'w').write('x')": "Error",
    "import os\nos.mkdir('HERE/made')": "Error",
    "import os\nos.listdir('/')": "Error",
    "import os\nos.remove('HERE/driver.py')": "Error",
    "import socket\nsocket.create_connection(('127.0.0.1', 1))": "ModuleNotFoundError",
    "import sys\ndel sys.modules['_socket']\nimport _socket\n_socket.socket().connect(('127.0.0.1', 1))": "Error",
    "import subprocess\nsubprocess.run(['touch', 'HERE/made'])": "Error",
    "import os\nos._exit(0)": "SystemExit ProgramError",
    "import sys\nsys.exit(3)": "SystemExit: 3",
    "from inferlet import spawn\nspawn('x', source='async def main(): pass')": "CapabilityError",
    "from inferlet import *\nalloc_kvpage(get_auto_model().create_queue(), 1)": "ResourceError",
    "import os\nprint(os.environ.get('HOME'))": "None",
}


def test_whatever_code_tries_the_next_run_is_well(tmp_path: Path) -> None:
    codes = [code.replace("HERE", str(tmp_path)) for code in HOSTILE]
    outputs = interpret(tmp_path, *[each for code in codes for each in (code, "print('well')")])
    assert outputs[1::2] == ["well"] * len(HOSTILE)
    for (code, kinds), output in zip(HOSTILE.items(), outputs[::2], strict=True):
        assert any(kind in output.partition("\n")[0] or kind in output[-200:] for kind in kinds.split()), (code, output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["driver.py"]


def test_code_that_waits_for_ever_is_ended(tmp_path: Path) -> None:
    outputs = interpret(tmp_path, "import time\ntime.sleep(1000)", patience=0.5)
    assert outputs == ["TimeoutError: not done in 0.5 seconds"]


# limits of the agent


def test_an_agent_that_does_not_come_to_an_end_is_stopped() -> None:
    (ran,) = run_all([["--max-steps", "1"]])
    assert ran.output.endswith("Output: 1540\nNo answer after 1 runs; --max-steps allows more.\n")


def test_without_leave_to_start_programs_it_says_what_it_needs() -> None:
    ran = run("codeact_agent")
    assert "The code needs a program of its own to run in." in ran.output and "--allow-spawn" in ran.output
