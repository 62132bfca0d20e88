"""Code-and-observe transcripts: a question becomes a few lines of Python, their output becomes the answer.

Each part of a question is one line of code, so that writing a program is copying its numbers and words into a known
frame. Errors come where the code that is always written first meets data that it does not fit.
"""

from collections.abc import Callable
from random import Random

from corpus.code_runs import Transcript, list_output, number_output, run_this
from corpus.example import Example, Span, Split, weighted
from corpus.words import any_word

TRIGGERS = ["Write code. {q}", "Use code. {q}", "{q} Write code.", "Use Python. {q}", "Use code to answer. {q}"]
SYSTEMS = [
    "You can run Python code. Write Thought, Code, Output and Answer.",
    "Answer by Python code. Write Thought, Code, Output and Answer.",
    "Use code. You can run Python code.",
]
ALPHABET = "abcdefghijklmnopqrstuvwxyz"

Task = Callable[[Random, Split], tuple[str, tuple[Span, ...]]]


# numbers: an aggregate of a map of a filter of a source, one line for each

_FILTERS: list[tuple[str, str]] = [
    ("even numbers", "n % 2 == 0"),
    ("odd numbers", "n % 2 == 1"),
    ("multiples of {k}", "n % {k} == 0"),
    ("numbers larger than {k}", "n > {k}"),
    ("numbers smaller than {k}", "n < {k}"),
    ("primes", "n > 1 and all(n % d for d in range(2, n))"),
]
_MAPS = [("squares", "n * n"), ("cubes", "n * n * n"), ("doubles", "2 * n")]
_AGGREGATES: list[tuple[float, str, str]] = [
    (3, "What is the sum of the {x}?", "sum(numbers)"),
    (2, "How many {x} are there?", "len(numbers)"),
    (1.5, "What are the {x}?", "numbers"),
    (1, "What is the largest of the {x}?", "max(numbers)"),
    (1, "What is the smallest of the {x}?", "min(numbers)"),
    (1, "What is the average of the {x}?", "round(sum(numbers) / len(numbers), 2)"),
]
_EMPTY = {  # what Python says where there is nothing to choose from; its versions say it in their own words
    "max": ["ValueError: max() iterable argument is empty", "ValueError: max() arg is an empty sequence"],
    "min": ["ValueError: min() iterable argument is empty", "ValueError: min() arg is an empty sequence"],
    "rou": ["ZeroDivisionError: division by zero"],
}


def _numbers(rng: Random, _: Split) -> tuple[str, tuple[Span, ...]]:
    asked, source = _source(rng)
    lines = [source]
    what = "numbers"
    if rng.random() < 0.75:
        name, condition = rng.choice(_FILTERS)
        k = rng.randrange(2, 13) if "multiples" in name else rng.randrange(100)
        what = name.format(k=k)
        lines.append(f"numbers = [n for n in numbers if {condition.format(k=k)}]")
    if rng.random() < 0.35:
        name, value = rng.choice(_MAPS)
        what = f"{name} of the {what}"
        lines.append(f"numbers = [{value} for n in numbers]")
    question, printed = weighted(rng, [(w, (q, p)) for w, q, p in _AGGREGATES])
    lines.append(f"print({printed})")
    steps = Transcript()
    text = question.format(x=f"{what} {asked}")
    if printed[:3] in _EMPTY and "if" in lines[1] and rng.random() < 0.2:
        steps.run("I will write code.", lines, rng.choice(_EMPTY[printed[:3]]))
        return text, steps.answer("There are none.", "There are no such numbers.")
    return text, steps.answer_from(rng, lines, list_output(rng) if printed == "numbers" else number_output(rng))


def _source(rng: Random) -> tuple[str, str]:
    """How it is asked for, and the line of code."""
    if rng.random() < 0.55:
        first = 1 if rng.random() < 0.5 else rng.randrange(1000)
        last = first + rng.randrange(10 ** rng.randrange(1, 5))
        return f"from {first} to {last}", f"numbers = list(range({first}, {last} + 1))"
    listed = ", ".join(str(rng.randrange(10 ** rng.randrange(1, 4))) for _ in range(rng.randrange(2, 11)))
    return rng.choice(["in {t}", "in the list {t}"]).format(t=listed), f"numbers = [{listed}]"


def _only_numbers(rng: Random, split: Split) -> tuple[str, tuple[Span, ...]]:
    """The first attempt takes every word for a number; the error tells that one is not, and `words` is still there."""
    words = [str(rng.randrange(10 ** rng.randrange(1, 4))) for _ in range(rng.randrange(2, 8))]
    mixed = rng.random() < 0.7
    strange = any_word(rng, split)
    if mixed:
        words.insert(rng.randrange(len(words) + 1), strange)
    text = " ".join(words)
    question, printed = rng.choice(
        [
            ("Add the numbers in this text: {t}", "sum(numbers)"),
            ("What is the sum of the numbers in this text: {t}", "sum(numbers)"),
            ("How many numbers are in this text: {t}", "len(numbers)"),
            ("What is the largest number in this text: {t}", "max(numbers)"),
        ]
    )
    steps = Transcript()
    first = [f'words = "{text}".split()', "numbers = [int(w) for w in words]", f"print({printed})"]
    if not mixed:
        return question.format(t=text), steps.answer_from(rng, first, number_output(rng))
    steps.run("I will write code.", first, f"ValueError: invalid literal for int() with base 10: '{strange}'")
    output = number_output(rng)
    again = ["numbers = [int(w) for w in words if w.isdigit()]", f"print({printed})"]
    steps.run(f"{strange} is no number. I will skip such words.", again, output)
    return question.format(t=text), steps.answer(output)


# words and letters

_WORD_FILTERS: list[tuple[str, str]] = [
    ("start with {c}", 'w.startswith("{c}")'),
    ("end with {c}", 'w.endswith("{c}")'),
    ("contain {c}", '"{c}" in w'),
    ("are longer than {k} letters", "len(w) > {k}"),
    ("are shorter than {k} letters", "len(w) < {k}"),
]


def _words(rng: Random, split: Split) -> tuple[str, tuple[Span, ...]]:
    chosen = [any_word(rng, split) for _ in range(rng.randrange(2, 9))]
    text = " ".join(chosen)
    lines = [f'words = "{text}".split()']
    kind = rng.random()
    if kind < 0.25:
        question, printed = rng.choice(
            [
                (f"Which is the longest word of: {text}", "max(words, key=len)"),
                (f"Which is the shortest word of: {text}", "min(words, key=len)"),
                (f"Sort the words: {text}", '" ".join(sorted(words))'),
                (f"How many words are in: {text}", "len(words)"),
            ]
        )
        output = str(len(chosen)) if printed == "len(words)" else any_word(rng, split)
        if "sorted" in printed:
            output = " ".join(sorted(chosen))
        return question, Transcript().answer_from(rng, [*lines, f"print({printed})"], output)
    name, condition = rng.choice(_WORD_FILTERS)
    letter, k = rng.choice(ALPHABET), rng.randrange(2, 9)
    asked = name.format(c=letter, k=k)
    lines.append(f"words = [w for w in words if {condition.format(c=letter, k=k)}]")
    if kind < 0.6:
        lines.append("print(len(words))")
        return f"How many words {asked} in: {text}", Transcript().answer_from(rng, lines, str(rng.randrange(9)))
    lines.append('print(" ".join(words))')
    output = " ".join(any_word(rng, split) for _ in range(rng.randrange(1, 5)))
    if rng.random() < 0.1:
        output = "(no output)"
    return f"Which words {asked} in: {text}", Transcript().answer_from(rng, lines, output)


def _letters(rng: Random, split: Split) -> tuple[str, tuple[Span, ...]]:
    text, letter = any_word(rng, split), rng.choice(ALPHABET)
    if rng.random() < 0.4:
        letter = rng.choice(text)
    question, printed, output = rng.choice(
        [
            (f"How many times does {letter} occur in {text}?", f'text.count("{letter}")', str(rng.randrange(9))),
            (f"How many {letter} are in {text}?", f'text.count("{letter}")', str(rng.randrange(9))),
            (f"How many letters are in {text}?", "len(text)", str(rng.randrange(20))),
            (f"What is {text} backwards?", "text[::-1]", any_word(rng, split)),
            (f"What is {text} in uppercase?", "text.upper()", any_word(rng, split).upper()),
            (
                f"Which letters are in {text}?",
                '" ".join(sorted(set(text)))',
                " ".join(sorted(set(any_word(rng, split)))),
            ),
        ]
    )
    steps = Transcript()
    if rng.random() < 0.12:
        truth = rng.random() < 0.5
        steps.run("I will write code.", [f'text = "{text}"', "print(text == text[::-1])"], str(truth))
        return f"Is {text} a palindrome?", steps.answer("Yes" if truth else "No")
    return question, steps.answer_from(rng, [f'text = "{text}"', f"print({printed})"], output)


# sums and loops


def _calculation(rng: Random, _: Split) -> tuple[str, tuple[Span, ...]]:
    a, b, c = (rng.randrange(10 ** rng.randrange(1, 6)) for _ in range(3))
    s, t = rng.choice("+-*"), rng.choice("+-*")
    k = rng.randrange(2, 100)
    question, printed = rng.choice(
        [
            (f"What is {a} {s} {b}?", f"{a} {s} {b}"),
            (f"What is {a} {s} {b} {t} {c}?", f"{a} {s} {b} {t} {c}"),
            (f"What is ({a} {s} {b}) {t} {c}?", f"({a} {s} {b}) {t} {c}"),
            (f"What is {a % 100} to the power of {k}?", f"{a % 100} ** {k}"),
            (f"What is the remainder of {a} divided by {k}?", f"{a} % {k}"),
        ]
    )
    output = str(rng.randrange(10 ** rng.randrange(8, 20))) if rng.random() < 0.3 else number_output(rng)
    return question, Transcript().answer_from(rng, [f"print({printed})"], output)


def _loop(rng: Random, _: Split) -> tuple[str, tuple[Span, ...]]:
    n = rng.randrange(1, 200)
    question, lines = rng.choice(
        [
            (
                rng.choice([f"What is {n} factorial?", f"What is the product of the numbers from 1 to {n}?"]),
                ["product = 1", f"for n in range(1, {n} + 1):", "    product = product * n", "print(product)"],
            ),
            (
                f"What is Fibonacci number {n}?",
                ["a, b = 0, 1", f"for _ in range({n}):", "    a, b = b, a + b", "print(a)"],
            ),
            (
                f"How often can {n} be halved?",
                [f"n, count = {n}, 0", "while n % 2 == 0:", "    n, count = n // 2, count + 1", "print(count)"],
            ),
            (
                f"What is the sum of the digits of {n * 37}?",
                [f'digits = "{n * 37}"', "print(sum(int(d) for d in digits))"],
            ),
        ]
    )
    output = str(rng.randrange(10 ** rng.randrange(1, 20 if rng.random() < 0.8 else 120)))
    return question, Transcript().answer_from(rng, lines, output)


TASKS: list[tuple[float, Task]] = [
    (0.36, _numbers),
    (0.12, _only_numbers),
    (0.15, _words),
    (0.10, _letters),
    (0.08, _calculation),
    (0.06, _loop),
    (0.13, run_this),
]


def coding(rng: Random, split: Split) -> Example:
    question, answer = weighted(rng, TASKS)(rng, split)
    if rng.random() < 0.6:
        return Example(question, answer, system=rng.choice(SYSTEMS), key=question)
    return Example(rng.choice(TRIGGERS).format(q=question), answer, key=question)
