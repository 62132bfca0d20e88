"""Tree of thought is the search that one would write with transformers calls, and computes what branches share once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest

from .conftest import Reference
from .running import run

RULES = "Use each number once with + - * to make 24.\n"
STEP = re.compile(r"\d+ [-+*] \d+ = \d+ left ([\d ]+)")
GRADES = ["impossible", "likely", "sure"]
LINE = re.compile(r"  ([+-]) (\w+) +(.*)")


@dataclass
class Search:
    """The same search, each prompt written out and run from its first token. rows: (kept, verdict, steps)."""

    reference: Reference
    rows: list[list[tuple[bool, str, str]]] = field(default_factory=list)
    tokens: int = 0  # that the program has to run: what branches share counts once
    naive: int = 0  # that whole prompts take
    steps: int = 0  # of decoding, if all branches of a level go at once
    apart: int = 0  # steps if each prompt goes alone

    def run(self, numbers: str, breadth: int) -> str:
        """The way to 24, or nothing."""
        prefix = f"{RULES}Numbers: {numbers}\n"
        self.tokens += self.count(prefix) - 1
        self.steps += 1
        level: list[tuple[tuple[str, ...], str]] = [((), numbers)]
        while level and " " in level[0][1]:
            paths = [path for path, _ in level]
            branches: dict[str, tuple[str, ...]] = {}
            for path, listed in zip(paths, self.ask(prefix, paths, "Steps:\n", 400), strict=True):
                for line in listed.split("\n"):
                    if match := STEP.fullmatch(line):
                        branches.setdefault(match[1], (*path, line))
            self.tokens += sum(self.count(f"{path[-1]}\n") for path in branches.values())
            thoughts = self.ask(prefix, list(branches.values()), "Value:", 40)
            verdicts = [(thought.split() or ["?"])[-1] for thought in thoughts]
            grades = [GRADES.index(verdict) if verdict in GRADES else 0 for verdict in verdicts]
            order = sorted(range(len(grades)), key=lambda n: (-grades[n], n))[:breadth]
            states = list(branches.items())
            self.rows.append(
                [(n in order and grades[n] > 0, GRADES[grades[n]], "; ".join(states[n][1])) for n in range(len(states))]
            )
            level = [(states[n][1], states[n][0]) for n in order if grades[n] > 0]
        return ", ".join(step.split(" left")[0] for step in level[0][0]) if level else ""

    def ask(self, prefix: str, paths: list[tuple[str, ...]], question: str, limit: int) -> list[str]:
        """What the model says to the question after each path."""
        if not paths:
            return []
        prompts = [prefix + "".join(f"{line}\n" for line in path) + question for path in paths]
        answers = self.reference.generate_each(prompts, limit)
        for path, prompt, answer in zip(paths, prompts, answers, strict=True):
            off_the_root = len(path) == (question == "Value:")  # it ends in a token that only its branches run
            said = len(answer) - (len(answer) == limit)
            self.tokens += off_the_root + self.count(question) + said
            self.naive += self.count(prompt) + said
            self.apart += 1 + said
        self.steps += 1 + max(len(answer) - (len(answer) == limit) for answer in answers)
        return [self.reference.decode(answer) for answer in answers]

    def count(self, text: str) -> int:
        return len(self.reference.encode(text))


@pytest.mark.parametrize(("numbers", "breadth"), [("1 3 4 5", 3), ("2 4 6", 1)])
def test_the_tree_is_that_of_the_same_search_written_with_transformers(
    reference: Reference, numbers: str, breadth: int
) -> None:
    search = Search(reference)
    way = search.run(numbers, breadth)
    last = f"Solved: {way}" if way else "No way found."
    arguments = ("tree_of_thought", "--numbers", numbers, f"--breadth={breadth}", "--all")
    plain, drafted = (run(*arguments, f"--drafts={drafts}") for drafts in (0, 3))
    assert tree(plain.output) == tree(drafted.output) == (search.rows, last)
    assert 2 * plain.cost.steps < search.steps + search.apart  # nearer to all at once than to each alone
    assert search.tokens <= plain.cost.tokens < search.naive  # what branches share was computed once
    assert drafted.cost.steps < search.steps
    if breadth == 1:  # otherwise a state may be rated that an earlier one finds a way to
        assert plain.cost.tokens == search.tokens


def tree(output: str) -> tuple[list[list[tuple[bool, str, str]]], str]:
    """The rows of each level that a program shows, and its last line."""
    *levels, last = output.rstrip("\n").split("\n")
    shown: list[list[tuple[bool, str, str]]] = []
    for line in levels:
        if match := LINE.fullmatch(line):
            shown[-1].append((match[1] == "+", match[2], match[3]))
        else:
            shown.append([])
    return shown, last


def test_a_wider_search_finds_what_a_chain_of_thought_misses() -> None:
    """The model is `sure` of 2 3 17, wrongly: a chain of thought ends there, a wider search finds 6 8 9 beside it."""
    puzzle = ("tree_of_thought", "--numbers", "2 3 8 9", "--breadth")
    assert run(*puzzle, "1").output.endswith("\nNo way found.\n")
    assert run(*puzzle, "3").output.endswith("\nSolved: 2 * 3 = 6, 9 - 6 = 3, 3 * 8 = 24\n")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--numbers", "1 2"], "three or four numbers from 1 to 9 are wanted"),
        (["--numbers", "1 2 x"], "three or four numbers from 1 to 9 are wanted"),
        (["--breadth", "0"], "keep at least one state"),
    ],
)
def test_nonsense_is_refused_in_words(arguments: list[str], complaint: str) -> None:
    ended = run("tree_of_thought", *arguments).outcome.ended
    assert ended.status == "failed"
    assert complaint in (ended.error or "")
