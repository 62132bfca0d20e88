"""All kinds of pictures and all skills, and how often each is drawn. Adding a skill is adding a line here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from corpus.example import Example, Split
from PIL import Image

from pictures import ask_pairs, ask_signs, ask_things, chart, crowd, number, pair, things

Picture = Any  # one of the classes of this package; a skill knows which it is asked about
Ask = Callable[[Random, Picture], Example | None]


@dataclass(frozen=True)
class Kind:
    """A kind of picture. `sample` takes a generator, a split and how far the curriculum is, in [0, 1].

    `early` and `late` are shares of the drawn pictures at its start and its end; `asks` are skills with their shares.
    """

    sample: Callable[[Random, Split, float], Picture]
    early: float
    late: float
    asks: Mapping[str, tuple[Ask, float]]


def _up_to(fewest: int, most: int, far: float) -> int:
    return fewest + round((most - fewest) * far)


KINDS: Mapping[str, Kind] = {
    "thing": Kind(
        lambda rng, split, far: things.sample(rng, split, most=1),
        0.5,
        0.08,
        {
            "describe_one": (ask_things.describe, 1),
            "json_one": (ask_things.describe_json, 0.4),
            "colour_one": (ask_things.colour, 1),
            "shape_one": (ask_things.shape, 1),
            "place_one": (ask_things.place, 1),
            "size_one": (ask_things.size, 0.7),
        },
    ),
    "things": Kind(
        lambda rng, split, far: things.sample(rng, split, fewest=2, most=_up_to(2, 4, far)),
        0.2,
        0.32,
        {
            "describe": (ask_things.describe, 1),
            "describe_json": (ask_things.describe_json, 0.7),
            "colour": (ask_things.colour, 0.8),
            "shape": (ask_things.shape, 0.8),
            "place": (ask_things.place, 0.8),
            "at": (ask_things.at, 1),
            "size": (ask_things.size, 0.5),
            "larger": (ask_things.larger, 0.8),
            "relation": (ask_things.relation, 1),
            "exists": (ask_things.exists, 1),
            "count": (ask_things.count_some, 0.8),
            "count_all": (ask_things.count_all, 0.5),
        },
    ),
    "crowd": Kind(
        lambda rng, split, far: crowd.sample(rng, split, most=_up_to(4, crowd.MOST, far)),
        0.06,
        0.14,
        {
            "count_crowd": (ask_things.count_some, 2),
            "count_all_crowd": (ask_things.count_all, 1),
            "more_of": (ask_things.more_of, 1),
        },
    ),
    "number": Kind(
        lambda rng, split, far: number.sample(rng, split, most=_up_to(1, 4, far)),
        0.12,
        0.12,
        {"number": (ask_signs.read, 1), "number_json": (ask_signs.read_json, 0.3), "digits": (ask_signs.digits, 0.2)},
    ),
    "chart": Kind(
        lambda rng, split, far: chart.sample(rng, split, most=_up_to(2, 5, far)),
        0.12,
        0.14,
        {
            "chart_value": (ask_signs.value, 2),
            "chart_extreme": (ask_signs.extreme, 1),
            "chart_taller": (ask_signs.taller, 1),
            "chart_bars": (ask_signs.bars, 0.3),
            "chart_colour": (ask_signs.bar_colour, 0.5),
            "chart_json": (ask_signs.chart_json, 0.7),
            "chart_describe": (ask_signs.describe_chart, 0.7),
        },
    ),
    "change": Kind(
        lambda rng, split, far: pair.changed(rng, split, most=_up_to(1, 3, far)),
        0.0,
        0.12,
        {
            "difference": (ask_pairs.difference, 3),
            "same": (ask_pairs.same, 0.5),
            "describe_of_two": (ask_pairs.describe_one, 0.5),
        },
    ),
    "two": Kind(
        lambda rng, split, far: pair.unrelated(rng, split, most=_up_to(1, 4, far)),
        0.0,
        0.05,
        {
            "more_shapes": (ask_pairs.more_shapes, 1),
            "which_has": (ask_pairs.which_has, 2),
            "describe_of_unrelated": (ask_pairs.describe_one, 0.5),
        },
    ),
    "numbers": Kind(
        lambda rng, split, far: pair.numbers(rng, split),
        0.0,
        0.03,
        {"larger_number": (ask_pairs.larger_number, 1), "both_numbers": (ask_pairs.both_numbers, 0.6)},
    ),
}
PAIRS = frozenset({"change", "two", "numbers"})  # the kinds of two pictures


def images(picture: Picture, rng: Random) -> list[Image.Image]:
    """The drawn picture, or both of a pair."""
    return [single.draw(rng) for single in singles(picture)]


def singles(picture: Picture) -> Sequence[Picture]:
    return (picture.first, picture.second) if isinstance(picture, pair.Pair | pair.Numbers) else (picture,)


def kind_of(rng: Random, far: float, paired: bool) -> Kind:
    """A kind of one picture or of two, as often as the curriculum has it."""
    kinds = [kind for name, kind in KINDS.items() if (name in PAIRS) == paired]
    return rng.choices(kinds, [kind.early + (kind.late - kind.early) * far for kind in kinds])[0]


def share_of_pairs(far: float) -> float:
    """Of the pictures drawn; a pair counts once."""
    shares = {name: kind.early + (kind.late - kind.early) * far for name, kind in KINDS.items()}
    return sum(shares[name] for name in PAIRS) / sum(shares.values())


def ask(rng: Random, kind: Kind, picture: Picture) -> Example:
    """A question that fits the picture."""
    skills, shares = zip(*kind.asks.values(), strict=True)
    while True:
        example = rng.choices(skills, shares)[0](rng, picture)
        if example is not None:
            return example


def draw(name: str, rng: Random, split: Split) -> tuple[Picture, Example]:
    """A picture and a question of one skill, at the end of the curriculum."""
    kind = next(kind for kind in KINDS.values() if name in kind.asks)
    while True:
        picture = kind.sample(rng, split, 1.0)
        example = kind.asks[name][0](rng, picture)
        if example is not None:
            return picture, example
