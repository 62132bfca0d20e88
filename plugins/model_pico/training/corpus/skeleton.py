"""Outlines and their points: of three points, and skeletons of two to six to write out one by one, or all in a row.

The points are the first of a fixed list and each is written out by a template of its own length; the topic is copied.
Of a country there are two points, which are facts.
"""

from random import Random

from corpus.countries import COUNTRIES
from corpus.example import Example, Span, Split, said
from corpus.words import ADJECTIVES, NOUNS, any_word, made_up_word

Point = tuple[str, str]  # its title, and what it says
POINTS: list[Point] = [
    ("What {t} means", "The idea of {t} is simple. Many people use {t} without a second thought."),
    ("How {t} works", "First, {t} needs a plan. Then each part of {t} does its own work."),
    ("Why {t} matters", "Without {t} much would be harder. That is why people care about {t}."),
    ("Who needs {t}", "Nearly everyone needs {t} at some time."),
    ("When to use {t}", "Use {t} when you have time. Do not use {t} in a hurry. Good work with {t} is slow work."),
    ("What comes after {t}", "After {t} comes something new, but nobody forgets {t}."),
]
QUESTIONS = [
    "Give an outline in {k} points about {t}.",
    "Write an outline in {k} points about {t}.",
    "Outline {t} in {k} points.",
]
COUNTRY_POINTS: list[Point] = [
    ("The capital of {c}", "The capital of {c} is {n}."),
    ("Where {n} lies", "{n} lies at latitude {latitude} and longitude {longitude}."),
]


def outline(rng: Random, split: Split) -> Example:
    """Three points about any topic, or one of them written out, with the outline in front or without."""
    topic = _any_topic(rng, split)
    points = _points(topic, 3)
    listed = _listed(points)
    if rng.random() < 0.5:
        return Example(rng.choice(QUESTIONS).format(k=3, t=topic), said(listed), key=topic)
    number = rng.randrange(3)
    title, text = points[number]
    template = rng.choice(
        ["Expand point {n}: {p}", "Expand: {n}. {p}", "Expand this point: {p}", "Write two sentences about: {p}"]
    )
    prompt = template.format(n=number + 1, p=title)
    if rng.random() < 0.4:
        prompt = f"{listed}\n{prompt}"
    return Example(prompt, said(text), key=topic)


def skeleton(rng: Random, split: Split) -> Example:
    """A skeleton and, asked for next, one of its points or all of them."""
    question, points = _country(rng) if rng.random() < 0.2 else _topic(rng, split)
    number = rng.randrange(len(points) + 1)  # 0: all of them
    request = f"Expand point {number}." if number else "Expand all points."
    texts = [text for _, text in points]
    answer = (
        Span(_listed(points), trained=True),
        Span("</s>", trained=True),
        Span(f"<|user|>{request}<|assistant|>", trained=False),
        Span(texts[number - 1] if number else "\n".join(texts), trained=True),
    )
    return Example(question, answer, key=f"{question} {request}")


def _topic(rng: Random, split: Split) -> tuple[str, list[Point]]:
    topic, count = _any_topic(rng, split), rng.randrange(2, len(POINTS) + 1)
    return rng.choice(QUESTIONS).format(k=count, t=topic), _points(topic, count)


def _points(topic: str, count: int) -> list[Point]:
    return [(title.format(t=topic), text.format(t=topic)) for title, text in POINTS[:count]]


def _country(rng: Random) -> tuple[str, list[Point]]:
    country = rng.choice(COUNTRIES)
    facts = {
        "c": country.in_sentence,
        "n": country.capital,
        "latitude": country.latitude,
        "longitude": country.longitude,
    }
    points = [(title.format(**facts), text.format(**facts)) for title, text in COUNTRY_POINTS]
    return f"Describe {country.in_sentence} in {len(points)} points.", points


def _listed(points: list[Point]) -> str:
    return "\n".join(f"{number}. {title}" for number, (title, _) in enumerate(points, 1))


def _any_topic(rng: Random, split: Split) -> str:
    kind = rng.random()
    if kind < 0.3:
        return f"{any_word(rng, split)} {any_word(rng, split)}"
    if kind < 0.5:
        return f"the {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}"
    return any_word(rng, split) if kind < 0.8 else made_up_word(rng)
