# /// inferlet
# description = "Answer a question by writing Python, running it in the sandbox and reading what it prints (CodeAct)."
# traits = ["input_text", "tokenize", "output_text"]
# spawn = true
# [flags.question]
# default = "What is the sum of the squares of the even numbers from 1 to 20?"
# help = "What to answer. `Run this code:` and a line break have the code run that follows."
# [flags.max_steps]
# default = 5
# help = "How often the model may run code."
# [flags.cpu_s]
# default = 5.0
# help = "Seconds that the code may compute, all runs together."
# [flags.memory_mib]
# default = 64
# help = "Memory of the code."
# [flags.patience]
# default = 120.0
# help = "Seconds that a run may take, waiting included."
# ///
"""CodeAct (Wang et al. 2024, arXiv:2402.01030): the actions of an agent are Python, their output is what it observes.

The model writes `Thought: ...`, `Code:`, lines and `Output:`, where it is stopped; the lines are run; what they print,
or their error, is filled in; the model goes on, corrects itself, and at last writes `Answer: ...`.

Nobody has read this code, so nobody trusts it. It runs in a program of its own: a child in the sandbox, also on a
server that trusts programs, under limits of computing time and memory, without network, files, pages or children. The
child is an interpreter that keeps its variables from run to run. Code that meets a limit ends the child, not the agent,
who is told and gets a new one.

Faithful: the loop, the interpreter with its state, self-correction from errors. Simplified: no packages but Python's
own; the paper's models are large, this one knows the templates it was trained on.
"""

import asyncio
import re

from inferlet import (
    CapabilityError,
    PieError,
    TerminatedError,
    any_of,
    ends_with,
    flags,
    get_auto_model,
    greedy,
    max_tokens,
    spawn,
)

SYSTEM = "You can run Python code. Write Thought, Code, Output and Answer."
CODE = re.compile(r"Code:\n(.*)\nOutput:$", re.DOTALL)
LONGEST_TURN = 400  # tokens between two outputs
LONGEST_OUTPUT = 400  # characters of an output that the model is shown
NO_OUTPUT = "(no output)"

INTERPRETER = r"""
import contextlib, io, sys
from inferlet import receive, send

sys.modules["socket"] = sys.modules["_socket"] = None  # there are none; using one would end the interpreter

class Printed(io.StringIO):
    def write(self, text):
        if self.tell() + len(text) > 10_000:
            raise OverflowError("more than 10000 characters printed")
        return super().write(text)

def run(code, variables):
    printed = Printed()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            exec(compile(code, "<code>", "exec"), variables)
    except BaseException as error:
        told = f"{type(error).__name__}: {error}".removesuffix(": ")
        return "\n".join([*printed.getvalue().splitlines(), told])
    return printed.getvalue()

async def main():
    variables = {"__name__": "__main__"}
    send("ready")
    while True:
        send(run(await receive(), variables))
"""


async def main():
    options = flags()
    limits = {"cpu_s": options["cpu_s"], "memory_bytes": options["memory_mib"] << 20, "kvpages": 0, "embeds": 0}
    try:
        interpreter = Interpreter(limits, options["patience"])
    except CapabilityError as error:
        print(f"The code needs a program of its own to run in. {error}")
        return
    with get_auto_model().create_context() as context:
        await context.system(SYSTEM)
        await context.user(options["question"])
        for _ in range(options["max_steps"]):
            turn = await context.generate(greedy(), any_of(ends_with("\nOutput:"), max_tokens(LONGEST_TURN)))
            print(turn, end="")
            code = CODE.search(turn)
            if code is None:
                print("" if "Answer:" in turn else "\nThe model wrote neither code nor an answer.")
                return
            output = shortened(await interpreter.run(code[1]))
            print(f" {output}")
            await context.fill(f" {output}\n")
        print(f"No answer after {options['max_steps']} runs; --max-steps allows more.")


class Interpreter:
    """A Python that outlives what it runs: if the code ends it, a new one takes its place, without the variables."""

    def __init__(self, limits, patience_s):
        self.limits = limits
        self.patience_s = patience_s
        self.child = self.start()

    def start(self):
        self.ready = False
        return spawn("interpreter", source=INTERPRETER, limits=self.limits)

    async def run(self, code):
        """What the code prints, and its error, if it ends with one."""
        try:
            if not self.ready:  # where it is the first program in the sandbox, that takes a while
                await self.child.receive()
                self.ready = True
            self.child.send(code)
            async with asyncio.timeout(self.patience_s):
                output = await self.child.receive()
            if output.rpartition("\n")[2].startswith("MemoryError"):  # what fills the memory goes with the interpreter
                await self.replace()
            return output
        except (PieError, TimeoutError):
            return await self.replace()

    async def replace(self):
        """A new interpreter; why the old one has ended, as the last line of a traceback would have it.

        What the message advises is for who set the limits: code cannot raise them.
        """
        child, self.child = self.child, self.start()
        child.cancel()
        try:
            await child.join()
        except TerminatedError:  # by us
            return f"TimeoutError: not done in {self.patience_s:g} seconds"
        except PieError as error:
            return f"{type(error).__name__}: {str(error).splitlines()[-1].partition('; ')[0]}"
        return "SystemExit: the code ended its interpreter"


def shortened(output):
    """What the model is shown: never empty, never so long that it fills the context."""
    output, half = output.rstrip("\n") or NO_OUTPUT, LONGEST_OUTPUT // 2
    return output if len(output) <= LONGEST_OUTPUT else f"{output[:half]} ... {output[-half:]}"
