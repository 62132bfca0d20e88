# /// inferlet
# description = "Answer a question with tools: thought, action, observation (ReAct)."
# traits = ["input_text", "tokenize", "output_text"]
# hosts = ["localhost:8124", "127.0.0.1:8124", "*"]
# [flags.question]
# default = "Anna has 23 boxes with 45 apples each. How many apples are there?"
# help = "What to answer."
# [flags.tools]
# default = ""
# help = "URL of a tool server, such as http://localhost:8124; without one there is a calculator in the program."
# [flags.max_steps]
# default = 8
# help = "The most actions."
# [flags.patience]
# default = 10.0
# help = "Seconds that a tool may take to answer."
# ///
"""ReAct (Yao et al. 2022, arXiv:2210.03629): reasoning and acting in turns, in one growing context.

The model writes `Thought: ...`, `Action: tool[argument]` and `Observation:`, where it is stopped; the program calls the
tool and fills in what it said; the model goes on, until it writes `Answer: ...`. All of it is one context, whose keys
and values stay where they are while a tool works: each token is computed once, however many actions there are.

Faithful: the format, thoughts and actions in any order and number, tools that are another machine's. Simplified: the
paper shows a large model examples, this one was trained on the format; its Wikipedia is a plain look-up here.
"""

import ast
import asyncio
import operator
import re
import time
from urllib.parse import quote

from inferlet import (
    CapabilityError,
    NetworkError,
    ResourceError,
    any_of,
    ends_with,
    flags,
    get_auto_model,
    greedy,
    http_get,
    http_post,
    max_tokens,
)

SYSTEM = "Use the tools calculator[expression], lookup[key] and clock[what]."
ACTION = re.compile(r"Action: (\w+)\[(.*)\]\nObservation:$")
LONGEST_TURN = 200  # tokens between two observations
LONGEST_OBSERVATION = 200  # characters
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


class ToolError(Exception):
    """A tool did not answer as it should; the model is told."""


async def main():
    options = flags()
    tools = HttpTools(options["tools"].rstrip("/"), options["patience"]) if options["tools"] else LocalTools()
    with get_auto_model().create_context() as context:
        await context.system(SYSTEM)
        await context.user(options["question"])
        for _ in range(options["max_steps"]):
            turn = await context.generate(greedy(), any_of(ends_with("Observation:"), max_tokens(LONGEST_TURN)))
            print(turn, end="")
            action = ACTION.search(turn)
            if action is None:
                print("" if "Answer:" in turn else "\nThe model neither acted nor answered.")
                return
            try:
                observation = await observe(tools, *action.groups())
            except CapabilityError as error:  # not the tool's fault, so nothing for the model
                print(f"\nThe tools are out of reach. {error}")
                return
            print(f" {observation}")
            await context.fill(f" {observation}\n")
        print(f"No answer after {options['max_steps']} actions; --max-steps allows more.")


async def observe(tools, name, argument):
    """What the tool says, on one line that is not too long; or that it failed."""
    try:
        said = await tools.call(name, argument)
        line = " ".join(said.split())
        if not line or len(line) > LONGEST_OBSERVATION or not line.isprintable() or "\N{REPLACEMENT CHARACTER}" in line:
            raise ToolError("the tool answered nonsense")
    except ToolError as error:
        return f"error: {error}"
    return line


class HttpTools:
    """Tools of a server: GET /lookup?key=, GET /clock?what=, POST /calculator with the expression."""

    def __init__(self, url, patience_s):
        self.url = url
        self.patience_s = patience_s

    async def call(self, name, argument):
        """The text of its answer. Raises `ToolError`; a host that is not allowed is no fault of the tool's."""
        try:
            async with asyncio.timeout(self.patience_s):
                response = await self.request(name, argument)
        except TimeoutError:
            raise ToolError("too slow") from None
        except (NetworkError, ResourceError) as error:
            raise ToolError("no answer" if error.code == "network" else "too long an answer") from error
        if response.status == 404:
            raise ToolError("not found")
        if not response.ok:
            raise ToolError(f"status {response.status}")
        return response.text()

    def request(self, name, argument):
        if name == "calculator":
            return http_post(f"{self.url}/calculator", argument, {"Content-Type": "text/plain"})
        if name in ("lookup", "clock"):
            field = {"lookup": "key", "clock": "what"}[name]
            return http_get(f"{self.url}/{name}?{field}={quote(argument)}")
        raise ToolError(f"no tool {name}")


class LocalTools:
    """Tools that need no network: a calculator, and a clock that knows no place but Greenwich."""

    async def call(self, name, argument):
        if name == "calculator":
            return calculate(argument)
        formats = {"time": "%H:%M", "date": "%Y-%m-%d", "year": "%Y"}
        if name == "clock" and argument in formats:
            return time.strftime(formats[argument], time.gmtime())
        raise ToolError("not found without a tool server")


def calculate(expression):
    """Sums, differences, products and quotients of numbers, with parentheses; to two decimals."""
    try:
        value = value_of(ast.parse(expression.strip(), mode="eval").body)
        return str(int(value)) if value == int(value) else str(round(value, 2))
    except (SyntaxError, ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
        raise ToolError("not a sum") from error


def value_of(node):
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -value_of(operand)
        case ast.BinOp(left=left, op=op, right=right):
            return OPERATORS[type(op)](value_of(left), value_of(right))
    raise ValueError(node)
