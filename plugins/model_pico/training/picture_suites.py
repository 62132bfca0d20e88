"""The skills of pictures: held-out pictures, drawn anew, each with one question."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from pictures import KINDS, draw, images
from questions import Question, Suite, stretches
from tokenizer import IMAGE_TOKEN

ITEMS = 200  # of each skill
UNSEEN = {
    "thing": "colour, shape and place together",
    "things": "colour, shape and place together, of one at least",
    "crowd": "whole pictures",
    "number": "numbers; single digits: drawings",
    "chart": "all values together",
    "change": "colour, shape and place together, of one at least",
    "two": "colour, shape and place together, of one in each",
    "numbers": "both numbers",
}


def suites(seed: int) -> Iterator[Suite]:
    for kind, about in KINDS.items():
        for skill in about.asks:
            yield Suite(skill, UNSEEN[kind], _questions(skill, Random(f"{seed} {skill}")))


def _questions(skill: str, rng: Random) -> list[Question]:
    drawn = [draw(skill, rng, "held_out") for _ in range(ITEMS)]
    asked: list[Question] = []
    for number, (picture, example) in enumerate(drawn):
        shown = images(picture, rng)
        asked += stretches(number, replace(example, prompt=IMAGE_TOKEN * len(shown) + example.prompt), shown)
    return asked
