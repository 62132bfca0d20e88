"""Runs of code as a program that writes code sees them: transcripts, outputs, errors, and code that the user brings.

What code prints is the runtime's to write, never trained, and made up: a value in an answer can only come from there.
"""

from dataclasses import dataclass, field
from random import Random

from corpus.editing import CODE_LINES, VARIABLES
from corpus.example import Span, Split
from corpus.words import any_word, made_up_word

ERRORS = """
ValueError TypeError KeyError IndexError NameError ZeroDivisionError MemoryError TimeoutError OSError PermissionError
ResourceError RecursionError AttributeError ImportError SyntaxError TerminatedError CapabilityError OverflowError
FileNotFoundError ModuleNotFoundError NotImplementedError IndentationError SystemExit ProgramError UnicodeError
""".split()
HOSTILE = [
    "while True:\n    pass",
    "while True:\n    {0} = {9}",
    "{0} = []\nwhile True:\n    {0}.append({9})",
    "{0} = 'a' * 10 ** {9}",
    '{0} = "a" * 10 ** {9}',
    "{0} = [0] * 10 ** {9}",
    "print(2 ** 10 ** {9})",
    "print(sum(range(10 ** {9})))",
    'print(open("{1}.txt").read())',
    'print(open("/{1}/{2}").read())',
    'open("{1}.txt", "w").write("{2}")',
    "import os\nprint(os.listdir('/'))",
    'import os\nprint(os.listdir("/{1}"))',
    'import os\nos.remove("{1}")',
    "import socket\nsocket.create_connection(('{1}.com', {9}))",
    'import socket\nsocket.create_connection(("{1}.com", {9}))',
    'import socket\nsocket.create_connection(("127.0.0.1", {9}))',
    "import subprocess\nsubprocess.run(['{1}'])",
    "import sys\nsys.exit({9})",
    "def {0}():\n    {0}()\n{0}()",
    "print({9} / 0)",
    "raise ValueError('{1}')",
    'raise ValueError("{1} {2}")',
]


@dataclass
class Transcript:
    """Collects the trained and the given stretches of one transcript, in order."""

    parts: list[Span] = field(default_factory=list)

    def run(self, thought: str, lines: list[str], output: str) -> None:
        code = "\n".join(lines)
        self.parts.append(Span(f"Thought: {thought}\nCode:\n{code}\nOutput:", trained=True))
        self.parts.append(Span(f" {output}\n", trained=False))

    def answer(self, text: str, thought: str = "I know the answer.") -> tuple[Span, ...]:
        self.parts.append(Span(f"Thought: {thought}\nAnswer: {text}", trained=True))
        return tuple(self.parts)

    def answer_from(self, rng: Random, lines: list[str], output: str, failing: float = 0.06) -> tuple[Span, ...]:
        """Run the lines; their output is the answer, unless they failed."""
        if rng.random() < failing:
            name = _error_name(rng)
            self.run("I will write code.", lines, _error(rng, name))
            return self.failed(name)
        self.run("I will write code.", lines, output)
        return self.answer(output)

    def failed(self, name: str) -> tuple[Span, ...]:
        return self.answer(f"The code failed with {name}.", "The code failed.")


def _error_name(rng: Random) -> str:
    return rng.choice(ERRORS) if rng.random() < 0.8 else f"{made_up_word(rng).capitalize()}Error"


def _error(rng: Random, name: str) -> str:
    if rng.random() < 0.15:
        return name
    count = rng.randrange(1, 9)
    words = [any_word(rng, "train") if rng.random() < 0.7 else str(rng.randrange(1000)) for _ in range(count)]
    if rng.random() < 0.3:
        place = rng.randrange(len(words))
        words[place] = f"'{words[place]}'"
    sign = rng.choice(["", "", "", "(", "[Errno 2] ", "<", "/"])
    return f"{name}: {sign}{' '.join(words)}{rng.choice(['', '', '', ')', ']', '.', ': ', '>'])}".rstrip()


def number_output(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.85:
        return str(rng.randrange(10 ** rng.randrange(1, 8)) * rng.choice([1, 1, 1, 1, -1]))
    return f"{rng.randrange(10 ** rng.randrange(1, 5))}.{rng.randrange(100)}"


def list_output(rng: Random) -> str:
    if rng.random() < 0.1:
        return "[]"
    return str([rng.randrange(10 ** rng.randrange(1, 4)) for _ in range(rng.randrange(1, 9))])


def run_this(rng: Random, split: Split) -> tuple[str, tuple[Span, ...]]:
    """Code is copied as it is, sound or not; what came of it is reported."""
    names = rng.sample(VARIABLES, 3) if rng.random() < 0.5 else [made_up_word(rng) for _ in range(3)]
    pieces = (
        [rng.choice(HOSTILE)] if rng.random() < 0.5 else [rng.choice(CODE_LINES) for _ in range(rng.randrange(1, 4))]
    )
    code = "\n".join(piece.format(*names, *[""] * 6, rng.randrange(100)) for piece in pieces)
    question = rng.choice(["Run this code: {c}", "Run this code:\n{c}", "Run: {c}", "Run:\n{c}"]).format(c=code)
    steps = Transcript()
    if rng.random() < 0.5:
        name = _error_name(rng)
        steps.run("I will run it.", [code], _error(rng, name))
        return question, steps.failed(name)
    output = "(no output)"
    if rng.random() < 0.85:
        lines = [_printed(rng, split) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        output = "\n".join(lines)
    steps.run("I will run it.", [code], output)
    return question, steps.answer(output)


def _printed(rng: Random, split: Split) -> str:
    kind = rng.random()
    if kind < 0.5:
        return number_output(rng)
    return list_output(rng) if kind < 0.65 else " ".join(any_word(rng, split) for _ in range(rng.randrange(1, 5)))
