"""Questions about two pictures."""

from random import Random

from corpus.example import Example, said

from pictures.ask_things import described
from pictures.pair import Numbers, Pair, an
from pictures.things import SHAPES

WORDS = ("first", "second")
_WHERE = {(True, True): "both", (True, False): "the first", (False, True): "the second", (False, False): "neither"}


def difference(rng: Random, picture: Pair) -> Example | None:
    if not picture.change:
        return None
    return Example(rng.choice(["What is different?", "What has changed?"]), said(picture.change))


def same(rng: Random, picture: Pair) -> Example | None:
    if not picture.change:
        return None
    return Example("Are the pictures the same?", said("Yes" if picture.change == "Nothing." else "No"))


def describe_one(rng: Random, picture: Pair) -> Example:
    which = rng.randrange(2)
    return Example(f"Describe the {WORDS[which]} picture.", said(described((picture.first, picture.second)[which])))


def more_shapes(rng: Random, picture: Pair) -> Example:
    word = rng.choice(["more", "fewer"])
    return Example(f"Which picture has {word} shapes?", said(_winner(word, *(len(p.things) for p in _both(picture)))))


def which_has(rng: Random, picture: Pair) -> Example:
    """Something in one of them, or a shape that may be in both or in neither."""
    things = [thing for p in _both(picture) for thing in p.things]
    thing = rng.choice(things)
    word = rng.choice([thing.name, thing.colour, thing.shape, rng.choice(SHAPES)])
    where = tuple(any(word in (t.name, t.shape, t.colour) for t in p.things) for p in _both(picture))
    answer = _WHERE[where]
    asked = an(word if word in {t.name for t in things} or word in SHAPES else f"{word} shape")
    return Example(f"Which picture has {asked}?", said(answer))


def _both(picture: Pair) -> tuple:
    return picture.first, picture.second


def _winner(word: str, first: int, second: int) -> str:
    if first == second:
        return "neither"
    return "the first" if (first > second) == (word == "more") else "the second"


def larger_number(rng: Random, picture: Numbers) -> Example:
    word = rng.choice(["larger", "smaller"])
    first, second = int(picture.first.digits), int(picture.second.digits)
    answer = "the first" if (first > second) == (word == "larger") else "the second"
    return Example(f"Which number is {word}?", said(answer))


def both_numbers(rng: Random, picture: Numbers) -> Example:
    return Example("What are the numbers?", said(f"{picture.first.digits} and {picture.second.digits}"))
