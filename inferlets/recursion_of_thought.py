# /// inferlet
# description = "Recursion of thought: compute an expression; the model asks for its parts, each in a new context."
# traits = ["input_text", "tokenize", "output_text"]
# [flags.expression]
# default = "((3 + 4) * (10 - 8) - 6) * 5 - (30 - (2 + 3) * 4)"
# help = "Whole numbers, + - * and parentheses. What the model can: steps up to 99, products of numbers up to 12."
# [flags.depth]
# default = 16
# help = "How deep questions may be nested."
# ///
"""Recursion of thought (Lee and Kim 2023, arXiv 2306.06891): the model divides a problem over several contexts.

A question is one operation on two parts. For a part that is no number the model writes `Think: <part> =`; that is asked
in a fresh context, the answer is written behind the `=`, and the first context goes on. So no context ever holds more
than a question, its parts and an answer, at most 2 * question + SPARE tokens, however long the whole solution is. The
paper marks the same moments by the special tokens GO, THINK and STOP, which its models were trained with as this one
was with these words; its tail calls are left out.
"""

import ast
from dataclasses import dataclass

from inferlet import ArgumentError, PieError, any_of, flags, get_auto_model, max_tokens

ASK, ANSWER = "Think:", "Answer:"
SPARE = 32  # tokens
SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}


@dataclass
class Contexts:
    """What was needed so far. tokens: in all contexts together. longest: tokens of one, and its bound."""

    count: int = 0
    tokens: int = 0
    longest: int = 0
    bound: int = 0


async def main():
    options = flags()
    question = written(read_expression(options["expression"]))
    contexts = Contexts()
    answer = await solve(get_auto_model(), question, options["depth"], 0, contexts)
    print(f"Answer: {answer}")
    print(
        f"{contexts.count} contexts of {contexts.tokens} tokens together; "
        f"the longest held {contexts.longest}, its bound is {contexts.bound}"
    )


async def solve(model, question, depth, level, contexts):
    """Ask a question in a context of its own; the answer."""
    if level > depth:
        raise PieError(f"the questions are nested deeper than --depth {depth}")
    with model.create_context() as context:
        await context.fill(f"Question: {question}\n")
        bound = 2 * len(context.tokens) + SPARE
        while True:
            said = await context.generate(stop=any_of(asks, max_tokens(bound - len(context.tokens))))
            if not asks([], said):
                break
            part = said.removeprefix(ASK).removesuffix("=").strip()
            if len(part) >= len(question):
                raise PieError(f"asked {question!r}, the model asks {part!r}, which is no smaller")
            answer = await solve(model, part, depth, level + 1, contexts)
            await context.fill(f" {answer}\n")
        contexts.count += 1
        contexts.tokens += len(context.tokens)
        if len(context.tokens) > contexts.longest:
            contexts.longest, contexts.bound = len(context.tokens), bound
    answer = read_answer(question, said)
    print(f"{'  ' * level}{question} = {answer}")
    return answer


def asks(_tokens, text):
    """Whether the model has a question."""
    return text.startswith(ASK) and text.endswith("=")


def read_answer(question, said):
    if not said.startswith(ANSWER) or "=" not in said:
        raise PieError(f"asked {question!r}, the model says {said!r}, which is neither a question nor an answer")
    return said.rsplit("=", 1)[1].strip()


def read_expression(expression):
    """The syntax tree; an `ArgumentError` for anything but whole numbers and the three operations."""
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ArgumentError(f"--expression {expression!r} cannot be read: {error}") from error
    for node in ast.walk(tree):
        number = isinstance(node, ast.Constant) and type(node.value) is int
        operation = isinstance(node, ast.BinOp) and type(node.op) in SIGNS
        if not (number or operation or type(node) in SIGNS):
            raise ArgumentError(f"--expression {expression!r}: only whole numbers, + - * and parentheses are wanted")
    if not isinstance(tree, ast.BinOp):
        raise ArgumentError(f"--expression {expression!r}: there is nothing to compute")
    return tree


def written(tree):
    """One token a symbol, and parentheses around every operation but the whole."""
    return f"{operand(tree.left)} {SIGNS[type(tree.op)]} {operand(tree.right)}"


def operand(tree):
    return str(tree.value) if isinstance(tree, ast.Constant) else f"( {written(tree)} )"
