"""Questions about coloured shapes in places and about crowds of them; None where one does not fit the picture."""

import json
from collections import Counter
from random import Random

from corpus.example import Example, said

from pictures.canvas import COLOURS
from pictures.crowd import Crowd
from pictures.pair import an, located
from pictures.things import PLACES, SHAPES, Thing, Things

DESCRIBE = ["Describe the picture.", "What is in the picture?", "Describe the image."]
DESCRIBE_JSON = ["Describe the picture. Answer in JSON.", "Answer in JSON.", "What is in the picture? Answer in JSON."]
_SIDE = 3


def described(picture: Things) -> str:
    """One thing with its size and place, two by how they stand to each other, more with their places."""
    things = picture.things
    if len(things) == 1:
        size = "large" if things[0].large else "small"
        return f"A {size} {things[0].name} {located(things[0])}."
    if len(things) == 2:
        first, relation, second = related(*things)
        return f"{an(first.name)} {relation} {an(second.name)}.".capitalize()
    listed = [f"{an(thing.name)} {located(thing)}" for thing in things]
    return f"{', '.join(listed[:-1])} and {listed[-1]}.".capitalize()


def related(one: Thing, other: Thing) -> tuple[Thing, str, Thing]:
    """The left or upper one first; left and right count where they are no nearer than above and below."""
    (row, column), (other_row, other_column) = divmod(one.cell, _SIDE), divmod(other.cell, _SIDE)
    if abs(column - other_column) >= abs(row - other_row):
        return (one, "left of", other) if column < other_column else (other, "left of", one)
    return (one, "above", other) if row < other_row else (other, "above", one)


def as_json(picture: Things) -> str:
    return json.dumps({"shapes": [{"colour": t.colour, "shape": t.shape, "at": t.place} for t in picture.things]})


def describe(rng: Random, picture: Things) -> Example:
    return Example(rng.choice(DESCRIBE), said(described(picture)))


def describe_json(rng: Random, picture: Things) -> Example:
    return Example(rng.choice(DESCRIBE_JSON), said(as_json(picture)))


def colour(rng: Random, picture: Things) -> Example | None:
    thing = rng.choice(picture.things)
    if _count(picture, thing.shape) > 1:
        return None
    return Example(f"What colour is the {thing.shape}?", said(thing.colour))


def shape(rng: Random, picture: Things) -> Example | None:
    thing = rng.choice(picture.things)
    if _count(picture, thing.colour) > 1:
        return None
    return Example(f"What shape is {thing.colour}?", said(thing.shape))


def place(rng: Random, picture: Things) -> Example:
    thing = rng.choice(picture.things)
    return Example(f"Where is the {thing.name}?", said(thing.place))


def at(rng: Random, picture: Things) -> Example:
    cells = {thing.cell: thing for thing in picture.things}
    if rng.random() < 0.2:
        cell = rng.choice([cell for cell in range(len(PLACES)) if cell not in cells])
    else:
        cell = rng.choice(picture.things).cell
    where = "in the centre" if PLACES[cell] == "centre" else f"at the {PLACES[cell]}"
    return Example(f"What is {where}?", said(an(cells[cell].name) if cell in cells else "nothing"))


def size(rng: Random, picture: Things) -> Example:
    thing = rng.choice(picture.things)
    return Example(f"Is the {thing.name} large or small?", said("large" if thing.large else "small"))


def exists(rng: Random, picture: Things) -> Example:
    if rng.random() < 0.5:
        name = rng.choice(picture.things).name
    elif rng.random() < 0.5:  # right in one half
        name = f"{rng.choice(picture.things).colour} {rng.choice(SHAPES)}"
    else:
        name = f"{rng.choice(list(COLOURS))} {rng.choice(picture.things).shape}"
    return Example(f"Is there {an(name)}?", _yes(any(thing.name == name for thing in picture.things)))


def larger(rng: Random, picture: Things) -> Example | None:
    if len({thing.large for thing in picture.things}) < 2:
        return None
    large, small = (rng.choice([t for t in picture.things if t.large == wanted]) for wanted in (True, False))
    one, other = rng.sample([large, small], 2)
    word, answer = rng.choice([("larger", large), ("smaller", small)])
    return Example(f"Which is {word}, the {one.name} or the {other.name}?", said(f"the {answer.name}"))


def relation(rng: Random, picture: Things) -> Example | None:
    if len(picture.things) < 2:
        return None
    one, other = rng.sample(picture.things, 2)
    (row, column), (other_row, other_column) = divmod(one.cell, _SIDE), divmod(other.cell, _SIDE)
    truth = {"left of": column < other_column, "right of": column > other_column}
    truth |= {"above": row < other_row, "below": row > other_row}
    word = rng.choice(list(truth))
    return Example(f"Is the {one.name} {word} the {other.name}?", _yes(truth[word]))


def count_all(rng: Random, picture: Things | Crowd) -> Example:
    prompt = rng.choice(["How many shapes are there?", "How many shapes are in the picture?", "Count the shapes."])
    return Example(prompt, said(str(len(picture.things))))


def count_some(rng: Random, picture: Things | Crowd) -> Example:
    """By shape, colour or both; one time in six of something that may not be there."""
    thing = rng.choice(picture.things) if rng.random() < 5 / 6 else Thing(*_any_name(rng), large=True, cell=0)
    word, what = rng.choice(
        [(thing.shape, f"{thing.shape}s"), (thing.colour, f"{thing.colour} shapes"), (thing.name, f"{thing.name}s")]
    )
    return Example(f"How many {_plural(what)} are there?", said(str(_count(picture, word))))


def more_of(rng: Random, picture: Crowd) -> Example | None:
    kinds = Counter(thing.name for thing in picture.things)
    if len(kinds) < 2:
        return None
    one, other = rng.sample(list(kinds), 2)
    if kinds[one] == kinds[other]:
        return None
    word, answer = rng.choice([("more", max), ("fewer", min)])
    asked = f"Are there {word} {_plural(one + 's')} or {_plural(other + 's')}?"
    return Example(asked, said(_plural(answer((one, other), key=lambda kind: kinds[kind]) + "s")))


def _plural(regular: str) -> str:
    return regular.replace("crosss", "crosses")


def _any_name(rng: Random) -> tuple[str, str]:
    return rng.choice(list(COLOURS)), rng.choice(SHAPES)


def _count(picture: Things | Crowd, word: str) -> int:
    """Of the things whose colour, shape or both the word says."""
    return sum(word in (thing.colour, thing.shape, thing.name) for thing in picture.things)


def _yes(truth: bool) -> tuple:
    return said("Yes" if truth else "No")
