"""Recursion of thought: a question is one operation on two parts; a part that is no number is a question of its own.

The model writes `Think: <part> =` and stops; the program asks that part in a fresh context and writes its answer
here, so what follows `=` on such a line is given, never trained. Symbols are written apart: each is a token of its own.
"""

from random import Random

from corpus.arithmetic import OPERATORS, Expression, step_held_out
from corpus.example import Example, Span, Split

MOST_OPERATIONS = 14
LARGEST, LARGEST_FACTOR = 99, 12  # what a step may reach, and multiply


def recursion(rng: Random, split: Split) -> Example:
    """One context: a question, its parts handed out and answered, and the last operation."""
    while True:
        operations = rng.choice([1, 1, 2, 2, 3, 3, 4, 5, rng.randrange(6, MOST_OPERATIONS + 1)])
        expression = _grown(rng, operations)
        if isinstance(expression, int):
            continue
        left, symbol, right = expression
        step = f"{value(left)} {symbol} {value(right)} = {value(expression)}"
        if split == "train" and step_held_out(step):
            continue
        question = _bare(expression)
        parts = [span for part in (left, right) if not isinstance(part, int) for span in _handed_out(part)]
        answer = (*parts, Span(f"Answer: {step}", trained=True))
        return Example(f"Question: {question}\n", answer, chat=False, key=question)


def value(node: Expression) -> int:
    if isinstance(node, int):
        return node
    left, symbol, right = node
    return OPERATORS[symbol](value(left), value(right))


def _handed_out(node: Expression) -> list[Span]:
    return [Span(f"Think: {_bare(node)} =", trained=True), Span(f" {value(node)}\n", trained=False)]


def _bare(node: Expression) -> str:
    """As a question: no parentheses around the whole."""
    return _written(node).removeprefix("( ").removesuffix(" )")


def _written(node: Expression) -> str:
    """Parentheses around every operation."""
    if isinstance(node, int):
        return str(node)
    left, symbol, right = node
    return f"( {_written(left)} {symbol} {_written(right)} )"


def _grown(rng: Random, operations: int) -> Expression:
    """Grown from the numbers up, so that no step leaves the range that the model knows."""
    if operations == 0:
        return rng.randrange(1, LARGEST + 1) if rng.random() < 0.3 else rng.randrange(1, LARGEST_FACTOR + 1)
    while True:
        on_the_left = rng.randrange(operations)
        left, right = _grown(rng, on_the_left), _grown(rng, operations - 1 - on_the_left)
        fitting = [symbol for symbol in OPERATORS if _in_range(value(left), symbol, value(right))]
        if fitting:
            return left, rng.choice(fitting), right


def _in_range(a: int, symbol: str, b: int) -> bool:
    known = max(a, b) <= LARGEST_FACTOR if symbol == "*" else 0 <= OPERATORS[symbol](a, b) <= LARGEST
    return known and OPERATORS[symbol](a, b) <= LARGEST
