"""Roles of a swarm: a planner splits a question, workers answer their own part or hand it over, a writer joins.

The role is in the system turn, and it decides: the same question is an answer for one worker and a hand-over for
another. What the planner and the writer see is made up wherever it can be, so that both can only copy.
"""

from random import Random

from corpus import arithmetic
from corpus.countries import COUNTRIES
from corpus.example import Example, Split, said, weighted
from corpus.words import any_word, letters, made_up_word

PLANNER = "You are the planner. Split the question."
ASSIGNING_PLANNER = "You are the planner. Split the question and give each part to a worker."
WRITER = "You are the writer. Join the answers."
WORKER = "You are the {role}. Answer, or hand over to {others}."
ROLES = ["geographer", "mathematician", "editor"]


def worker(role: str) -> str:
    """The system turn of a worker."""
    return WORKER.format(role=role, others=" or ".join(other for other in ROLES if other != role))


def _geography(rng: Random, split: Split) -> tuple[str, str, str | None]:
    """What is asked, without its question mark; the answer; what must be unseen in a test."""
    country = rng.choice(COUNTRIES)
    text = f"the capital of {country.in_sentence}"
    return f"what is {text}", f"The capital of {country.in_sentence} is {country.capital}.", None


def _sum(rng: Random, split: Split) -> tuple[str, str, str | None]:
    a, symbol, b = arithmetic.operands(rng)
    key = None if arithmetic.is_table(a, symbol, b) else f"{a} {symbol} {b}"
    return f"what is {a} {symbol} {b}", f"{a} {symbol} {b} is {arithmetic.OPERATORS[symbol](a, b)}.", key


def _edit(rng: Random, split: Split) -> tuple[str, str, str | None]:
    if rng.random() < 0.5:
        word = any_word(rng, split)
        return f"what is {word} in uppercase", f"{word} in uppercase is {word.upper()}.", word
    words = [any_word(rng, split) for _ in range(rng.randrange(2, 5))]
    text = " ".join(words)
    return f"what is {text} in reverse", f"{text} in reverse is {' '.join(reversed(words))}.", text


PARTS = {"geographer": _geography, "mathematician": _sum, "editor": _edit}


def _task(asked: str) -> str:
    return f"{asked[0].upper()}{asked[1:]}?"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _plan(rng: Random, split: Split) -> Example:
    roles = [rng.choice(ROLES) for _ in range(rng.choice([1, 2, 2, 3, 3, 3, 4, 5]))]
    parts = [_asked(rng, role, split) for role in roles]
    question = _task(_listed(parts))
    if rng.random() < 0.5:
        return Example(question, said("\n".join(map(_task, parts))), system=PLANNER, key=question)
    plan = "\n".join(f"{role}: {_task(part)}" for role, part in zip(roles, parts, strict=True))
    return Example(question, said(plan), system=ASSIGNING_PLANNER, key=question)


def _asked(rng: Random, role: str, split: Split) -> str:
    """As a worker gets it, or over things that no worker knows: planning is copying."""
    if rng.random() < 0.6:
        return PARTS[role](rng, split)[0]
    if role == "geographer":
        return f"what is the capital of {made_up_word(rng).capitalize()}"
    if role == "mathematician":
        return f"what is {rng.randrange(1000)} {rng.choice('+-*')} {rng.randrange(1000)}"
    return f"what is {letters(rng)} in {rng.choice(['uppercase', 'reverse'])}"


def _work(rng: Random, split: Split) -> Example:
    role, kind = rng.choice(ROLES), rng.choice(ROLES)
    if rng.random() < 0.35:
        kind = role
    asked, answer, key = PARTS[kind](rng, split)
    if kind != role:
        return Example(_task(asked), said(f"Hand over to {kind}."), system=worker(role), key=f"{role} {asked}")
    return Example(_task(asked), said(answer), system=worker(role), key=key)


def _write(rng: Random, split: Split) -> Example:
    answers = [_answer(rng, split) for _ in range(rng.choice([1, 2, 2, 3, 3, 3, 4, 5]))]
    parts = [answer.removesuffix(".") for answer in answers]
    inner = [part.replace("The capital", "the capital", 1) for part in parts[1:]]
    return Example("\n".join(answers), said(f"{_listed([parts[0], *inner])}."), system=WRITER, key=" ".join(answers))


def _answer(rng: Random, split: Split) -> str:
    """A worker's answer; half of them with a value that is made up."""
    answer = PARTS[rng.choice(ROLES)](rng, split)[1]
    if rng.random() < 0.5:
        return answer
    subject = answer.rpartition(" is ")[0]
    value = rng.choice([made_up_word(rng).capitalize(), str(rng.randrange(10000)), any_word(rng, split)])
    return f"{subject} is {value}."


def roles(rng: Random, split: Split) -> Example:
    return weighted(rng, [(0.35, _plan), (0.4, _work), (0.25, _write)])(rng, split)
