"""Recursion of thought asks what the model asks for, is right where the leaves are, and keeps every context small."""

from __future__ import annotations

import re

import pytest

from .conftest import Reference
from .running import run

DEFAULT = "((3 + 4) * (10 - 8) - 6) * 5 - (30 - (2 + 3) * 4)"
QUESTIONS = {  # as the model is asked
    DEFAULT: "( ( ( ( 3 + 4 ) * ( 10 - 8 ) ) - 6 ) * 5 ) - ( 30 - ( ( 2 + 3 ) * 4 ) )",
    "(2 + 3) * (4 + 5)": "( 2 + 3 ) * ( 4 + 5 )",
    "((1+2)*3+4) - 6 - 7 + 2*3*2": "( ( ( ( ( 1 + 2 ) * 3 ) + 4 ) - 6 ) - 7 ) + ( ( 2 * 3 ) * 2 )",
    "(9 - (8 - (7 - (6 - 5)))) * (2 * 3 + 5)": "( 9 - ( 8 - ( 7 - ( 6 - 5 ) ) ) ) * ( ( 2 * 3 ) + 5 )",
    "12 + 30": "12 + 30",
}
SUMMARY = re.compile(r"(\d+) contexts of (\d+) tokens together; the longest held (\d+), its bound is (\d+)")


class Recursion:
    """The same recursion with transformers calls: each context is one text, grown by whole prompts."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.lines: list[str] = []
        self.contexts: list[str] = []

    def solve(self, question: str, level: int = 0) -> str:
        context = f"Question: {question}\n"
        while True:
            said = self.reference.decode(self.reference.generate(context, 120))
            if not said.startswith("Think:"):
                break
            context += said[: said.index("=") + 1]
            context += f" {self.solve(said[len('Think:') : said.index('=')].strip(), level + 1)}\n"
        self.contexts.append(context + said)
        answer = said.split("=")[-1].strip()
        self.lines.append(f"{'  ' * level}{question} = {answer}")
        return answer


@pytest.mark.parametrize(("expression", "question"), QUESTIONS.items())
def test_the_recursion_is_that_of_the_same_calls_to_transformers_and_right_as_its_leaves_are(
    reference: Reference, expression: str, question: str
) -> None:
    recursion = Recursion(reference)
    answer = recursion.solve(question)
    *lines, said, summary = run("recursion_of_thought", "--expression", expression).output.splitlines()
    assert lines == recursion.lines
    assert said == f"Answer: {answer}"
    right = [line for line in lines if eval(line.replace(" = ", " == "))]
    leaves = [line for line in lines if "(" not in line]
    assert set(leaves) <= set(right)  # the model is right on these
    assert right == lines  # so it is on all that is made of them
    assert int(answer) == eval(expression)
    sizes = [len(reference.encode(context)) for context in recursion.contexts]
    match = SUMMARY.fullmatch(summary)
    assert match
    assert [int(group) for group in match.groups()[:3]] == [len(sizes), sum(sizes), max(sizes)]
    assert max(sizes) <= 2 * len(reference.encode(f"Question: {question}\n")) + 32


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--expression", "2 / 3"], "only whole numbers, + - * and parentheses are wanted"),
        (["--expression", "print(1)"], "only whole numbers, + - * and parentheses are wanted"),
        (["--expression", "2 +"], "cannot be read"),
        (["--expression", "7"], "there is nothing to compute"),
        (["--expression", "1" + " + 1" * 5000], "cannot be read"),
        (["--depth", "1"], "nested deeper than --depth 1"),
    ],
)
def test_nonsense_is_refused_in_words(arguments: list[str], complaint: str) -> None:
    ended = run("recursion_of_thought", *arguments).outcome.ended
    assert ended.status == "failed"
    assert complaint in (ended.error or "")
