"""Two pictures: of things with one change between them, of unrelated things, of numbers."""

from dataclasses import dataclass, replace
from random import Random

from corpus.example import Split

from pictures import number, things
from pictures.number import Number
from pictures.things import PLACES, Thing, Things


@dataclass(frozen=True)
class Pair:
    """`change` says what makes the second picture different from the first; empty if they were not made so."""

    first: Things
    second: Things
    change: str = ""


@dataclass(frozen=True)
class Numbers:
    first: Number
    second: Number


def numbers(rng: Random, split: Split) -> Numbers:
    while True:
        pair = Numbers(*(number.sample(rng, split, most=3) for _ in range(2)))
        if int(pair.first.digits) != int(pair.second.digits):
            return pair


def unrelated(rng: Random, split: Split, most: int = 4) -> Pair:
    return Pair(*(things.sample(rng, split, most=most) for _ in range(2)))


def changed(rng: Random, split: Split, most: int = 3) -> Pair:
    """One change, or one time in eight none. In the held-out split the thing that changes was never seen so."""
    while True:
        before = things.sample(rng, "train" if split == "train" else rng.choice(["train", "held_out"]), most=most)
        pair = rng.choice([_colour, _shape, _moved, _moved, _added, _removed, _added_or_same])(rng, before)
        if pair is not None and _fits(pair, split):
            return pair


def _fits(pair: Pair, split: Split) -> bool:
    seen = pair.first.belongs_to("train") and pair.second.belongs_to("train")
    return seen == (split == "train")


def _with(before: Things, old: Thing, new: Thing, change: str) -> Pair | None:
    """The pair in which `new` stands for `old`, unless there is such a thing already."""
    others = [thing for thing in before.things if thing is not old]
    if any(thing.name == new.name for thing in others):
        return None
    return Pair(before, _ordered([*others, new]), change)


def _ordered(unordered: list[Thing]) -> Things:
    return Things(tuple(sorted(unordered, key=lambda thing: thing.cell)))


def _colour(rng: Random, before: Things) -> Pair | None:
    old = rng.choice(before.things)
    new = replace(old, colour=rng.choice([name for name in things.COLOURS if name != old.colour]))
    if sum(thing.shape == old.shape for thing in before.things) > 1:
        return None  # "the circle" would not say which
    return _with(before, old, new, f"The {old.shape} is {old.colour} in the first and {new.colour} in the second.")


def _shape(rng: Random, before: Things) -> Pair | None:
    old = rng.choice(before.things)
    new = replace(old, shape=rng.choice([name for name in things.SHAPES if name != old.shape]))
    if sum(thing.colour == old.colour for thing in before.things) > 1:
        return None
    what = f"a {old.shape} in the first and a {new.shape} in the second"
    return _with(before, old, new, f"The {old.colour} shape is {what}.")


def _moved(rng: Random, before: Things) -> Pair | None:
    old = rng.choice(before.things)
    new = replace(old, cell=rng.choice(_free(before)))
    where = f"{located(old)} in the first and {located(new)} in the second"
    return _with(before, old, new, f"The {old.name} is {where}.")


def _added(rng: Random, before: Things) -> Pair | None:
    new = things.any_thing(rng, rng.choice(_free(before)))
    if any(thing.name == new.name for thing in before.things):
        return None
    return Pair(before, _ordered([*before.things, new]), f"There is {an(new.name)} only in the second.")


def _removed(rng: Random, before: Things) -> Pair | None:
    if len(before.things) == 1:
        return None
    old = rng.choice(before.things)
    after = Things(tuple(thing for thing in before.things if thing is not old))
    return Pair(before, after, f"There is {an(old.name)} only in the first.")


def _added_or_same(rng: Random, before: Things) -> Pair | None:
    return Pair(before, before, "Nothing.") if rng.random() < 0.8 else _added(rng, before)


def _free(picture: Things) -> list[int]:
    taken = {thing.cell for thing in picture.things}
    return [cell for cell in range(len(PLACES)) if cell not in taken]


def an(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def located(thing: Thing) -> str:
    return "in the centre" if thing.place == "centre" else f"at the {thing.place}"
