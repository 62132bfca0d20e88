"""Sums: one step is answered at once, a nested expression one step per line. Pairs of operands are held out.

Additions and subtractions reach two digits, products 12 x 12. Sums of two digits below ten and products are tables to
remember, so they are never held out.
"""

import operator
from collections.abc import Callable
from random import Random

from corpus.example import Example, Span, Split, held_out, said, weighted

OPERATORS: dict[str, Callable[[int, int], int]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}
QUESTIONS = [
    "What is {e}?",
    "Calculate {e}.",
    "Compute {e}.",
    "{e} = ?",
    "{e}",
    "How much is {e}?",
    "What's {e}?",
    "{e} =",
]
NESTED_QUESTIONS = [
    "What is {e}?",
    "Calculate {e}.",
    "Compute {e}.",
    "Calculate {e} step by step.",
    "What is {e}? Think step by step.",
    "Solve {e}.",
    "{e} = ?",
    "{e}",
]
SPELLED = {"+": "plus", "-": "minus", "*": "times"}

Expression = int | tuple["Expression", str, "Expression"]


def is_table(a: int, symbol: str, b: int) -> bool:
    return symbol == "*" or (a < 10 and b < 10)


def operands(rng: Random) -> tuple[int, str, int]:
    symbol = weighted(rng, [(0.38, "+"), (0.47, "-"), (0.15, "*")])
    if symbol == "*":
        return rng.randrange(13), symbol, rng.randrange(13)
    limit = 100 if rng.random() < 0.85 else 20
    a, b = rng.randrange(limit), rng.randrange(limit)
    if symbol == "-" and a < b and rng.random() < 0.4:
        a, b = b, a
    return a, symbol, b


def single_step(rng: Random, split: Split) -> Example:
    """One operation; in training sometimes several raw lines in a row, which is the densest way to see pairs."""
    if split == "train" and rng.random() < 0.35:
        return _raw_lines(rng, rng.randrange(3, 9))
    a, symbol, b = operands(rng)
    key = None if is_table(a, symbol, b) else f"{a} {symbol} {b}"
    text, answer = f"{a} {symbol} {b}", str(OPERATORS[symbol](a, b))
    kind = rng.random()
    if kind < 0.35:
        return Example(f"{text} =", said(f" {answer}"), chat=False, key=key)
    if kind < 0.4:
        return Example(f"{a}{symbol}{b}=", said(answer), chat=False, key=key)
    if kind < 0.45:
        return Example(f"What is {a} {SPELLED[symbol]} {b}?", said(answer), key=key)
    return Example(rng.choice(QUESTIONS).format(e=text), said(answer), key=key)


def _raw_lines(rng: Random, count: int) -> Example:
    pieces: list[Span] = []
    while len(pieces) < 2 * count:
        a, symbol, b = operands(rng)
        if is_table(a, symbol, b) or not held_out(f"{a} {symbol} {b}"):
            pieces.append(Span(f"\n{a} {symbol} {b} =", trained=False))
            pieces += said(f" {OPERATORS[symbol](a, b)}")
    return Example(pieces[0].text.strip(), tuple(pieces[1:]), chat=False)


def nested(rng: Random, split: Split) -> Example:
    """Two to four operations; in training no step uses a held-out pair, in tests the whole expression is unseen."""
    while True:
        expression = _random_expression(rng, rng.choice([2, 2, 3, 3, 4]))
        steps = _steps(expression)
        if steps is None or (split == "train" and any(step_held_out(step) for step in steps)):
            continue
        text = _written(expression, minimal=rng.random() < 0.5)
        answer = "\n".join([*steps, f"Answer: {steps[-1].split(' = ')[1]}"])
        if rng.random() < 0.2:
            return Example(f"{text} =\n", said(answer), chat=False, key=text)
        return Example(rng.choice(NESTED_QUESTIONS).format(e=text), said(answer), key=text)


def _random_expression(rng: Random, operations: int) -> Expression:
    if operations == 0:
        return rng.randrange(1, 100) if rng.random() < 0.4 else rng.randrange(1, 13)
    left = rng.randrange(operations)
    symbol = rng.choice("++-**")
    return _random_expression(rng, left), symbol, _random_expression(rng, operations - 1 - left)


def _written(expression: Expression, minimal: bool) -> str:
    """Parentheses around every inner operation, or only where precedence needs them."""
    if isinstance(expression, int):
        return str(expression)
    left, symbol, right = expression

    def operand(node: Expression, on_the_right: bool) -> str:
        text = _written(node, minimal)
        if isinstance(node, int):
            return text
        binds_tighter = node[1] == "*" and symbol != "*"
        same_level = (node[1] == "*") == (symbol == "*")
        return text if minimal and (binds_tighter or (same_level and not on_the_right)) else f"({text})"

    return f"{operand(left, False)} {symbol} {operand(right, True)}"


def _steps(expression: Expression) -> list[str] | None:
    """The lines of the innermost-leftmost evaluation, or None where a step leaves the range the model knows."""
    lines: list[str] = []

    def value(node: Expression) -> int | None:
        if isinstance(node, int):
            return node
        left, symbol, right = node
        a, b = value(left), value(right)
        if a is None or b is None:
            return None
        result = OPERATORS[symbol](a, b)
        lines.append(f"{a} {symbol} {b} = {result}")
        known = max(a, b) <= (12 if symbol == "*" else 99)
        return result if known and result >= 0 else None

    return lines if value(expression) is not None else None


def step_held_out(step: str) -> bool:
    a, symbol, b = step.split(" = ")[0].split()
    return not is_table(int(a), symbol, int(b)) and held_out(f"{a} {symbol} {b}")
