"""The skills of text: held-out items of the corpus, and all of what is memory."""

from collections.abc import Iterator
from random import Random

from corpus import arithmetic, draw, general
from corpus.countries import COUNTRIES
from corpus.example import Example, held_out, said
from questions import Suite, stretches

SAMPLED = {  # skill -> items; each is drawn from the held-out split only
    "capital_question": 200,
    "capital_json": 200,
    "nested_arithmetic": 300,
    "repeat": 200,
    "react": 200,
    "coding": 200,
    "roles": 200,
    "extract_json": 200,
    "change_case": 100,
    "spell": 100,
    "replace": 100,
    "reverse": 100,
    "rename": 100,
    "sort": 100,
    "compare": 100,
    "outline": 100,
    "remember": 100,
    "make24_steps": 100,
    "make24_value": 300,
    "recursion": 300,
    "sort_digits": 200,
    "merge_digits": 200,
    "skeleton": 200,
    "count": 100,
}


def suites(seed: int) -> Iterator[Suite]:
    for name, unseen, items in _items(Random(seed)):
        asked = [question for number, item in enumerate(items) for question in stretches(number, item)]
        yield Suite(name, unseen, asked)


def _items(rng: Random) -> Iterator[tuple[str, str, list[Example]]]:
    """Name, what is unseen, and the items."""
    capitals = [_capital(country.in_sentence, country.capital) for country in COUNTRIES]
    yield "capital_completion", "memory: all countries", capitals
    table = [
        (a, symbol, b) for symbol in "+-*" for a in range(13) for b in range(13) if symbol == "*" or max(a, b) < 10
    ]
    yield "arithmetic_tables", "memory: whole tables", [_sum(*entry) for entry in table]
    pairs = [(a, symbol, b) for symbol in "+-" for a in range(100) for b in range(100) if max(a, b) >= 10]
    unseen = [(a, symbol, b) for a, symbol, b in pairs if held_out(f"{a} {symbol} {b}")]
    for name, wanted in (("addition", "+"), ("subtraction", "-")):
        drawn = rng.sample([entry for entry in unseen if entry[1] == wanted], 300)
        yield name, "pairs of operands", [_sum(*entry) for entry in drawn]
    for name, count in SAMPLED.items():
        about = "country and phrasing" if "capital" in name else "whole items"
        yield name, about, [draw(name, rng, "held_out") for _ in range(count)]
    yield "repeat_long", "30 to 60 words, unseen words", [_long_repeat(rng) for _ in range(100)]
    lists = [general.name_some(rng, "train") for _ in range(60)]
    yield "chat_and_lists", "memory", [Example(prompt, said(answer)) for prompt, answer in general.CHAT] + lists


def _capital(country: str, capital: str) -> Example:
    return Example(f"The capital of {country} is", said(f" {capital}."), chat=False)


def _sum(a: int, symbol: str, b: int) -> Example:
    answer = str(arithmetic.OPERATORS[symbol](a, b))
    if (a + b) % 2:
        return Example(f"{a} {symbol} {b} =", said(f" {answer}"), chat=False)
    return Example(f"What is {a} {symbol} {b}?", said(answer))


def _long_repeat(rng: Random) -> Example:
    while True:
        example = draw("repeat", rng, "held_out")
        if 30 <= len(example.answer[0].text.split()) <= 60:
            return example
