"""Coloured shapes in the cells of a grid: what they are, how they are drawn, and which of them training never sees."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from corpus.example import Split, held_out
from PIL import Image, ImageDraw

from pictures.canvas import COLOURS, blank, finished, pen, shade

SHAPES = ["circle", "square", "triangle", "diamond", "cross", "star"]
PLACES = ["top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right"]
_ARM = 0.36
_CORNERS: dict[str, list[tuple[float, float]]] = {  # within a circle of radius 1; y points down
    "square": [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
    "triangle": [(0, -0.95), (0.95, 0.75), (-0.95, 0.75)],
    "diamond": [(0, -1), (0.72, 0), (0, 1), (-0.72, 0)],
    "cross": [
        *[(-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM)],
        *[(_ARM, 1), (-_ARM, 1), (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM)],
    ],
    "star": [
        (radius * math.sin(math.pi * number / 5), -radius * math.cos(math.pi * number / 5))
        for number, radius in enumerate([1, 0.42] * 5)
    ],
}


@dataclass(frozen=True)
class Thing:
    colour: str
    shape: str
    large: bool
    cell: int  # in reading order

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def place(self) -> str:
        """Where it is, in a grid of 3 x 3."""
        return PLACES[self.cell]

    @property
    def unseen(self) -> bool:
        """One combination of colour, shape and place in ten is never drawn for training."""
        return held_out(f"{self.name} {self.place}")


@dataclass(frozen=True)
class Things:
    """In reading order, at most one to a cell, no two alike in colour and shape."""

    things: tuple[Thing, ...]

    def belongs_to(self, split: Split) -> bool:
        return any(thing.unseen for thing in self.things) == (split == "held_out")

    def draw(self, rng: Random) -> Image.Image:
        return draw_grid(rng, self.things, 3)


def sample(rng: Random, split: Split, fewest: int = 1, most: int = 4) -> Things:
    count = rng.randint(fewest, most)
    while True:
        cells = sorted(rng.sample(range(len(PLACES)), count))
        things = tuple(_seen(rng, split, cell) for cell in cells)
        picture = Things(things)
        if len({thing.name for thing in things}) == count and picture.belongs_to(split):
            return picture


def _seen(rng: Random, split: Split, cell: int) -> Thing:
    while True:
        thing = any_thing(rng, cell)
        if split == "held_out" or not thing.unseen:
            return thing


def any_thing(rng: Random, cell: int) -> Thing:
    return Thing(rng.choice(list(COLOURS)), rng.choice(SHAPES), rng.random() < 0.5, cell)


def draw_grid(rng: Random, things: Sequence[Thing], side: int) -> Image.Image:
    """Each thing somewhere in its cell of `side` x `side`, as large as its cell lets it be, or two thirds of that."""
    image = blank(rng, {thing.colour for thing in things})
    width, height = image.width / side, image.height / side
    brush = pen(image)
    for thing in things:
        radius = min(width, height) * (rng.uniform(0.42, 0.49) if thing.large else rng.uniform(0.25, 0.31))
        row, column = divmod(thing.cell, side)
        x = column * width + _within(rng, width, radius)
        y = row * height + _within(rng, height, radius)
        _draw(rng, brush, thing, (x, y), radius)
    return finished(rng, image)


def _within(rng: Random, length: float, radius: float) -> float:
    """A centre in the middle half of the cell, such that all of the thing is in the cell."""
    slack = min(length / 2 - radius, length / 4)
    return length / 2 + rng.uniform(-slack, slack)


def _draw(rng: Random, brush: ImageDraw.ImageDraw, thing: Thing, at: tuple[float, float], radius: float) -> None:
    x, y = at
    if thing.shape == "circle":
        brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=shade(rng, thing.colour))
        return
    angle = math.radians(rng.uniform(-8, 8))
    across, down = radius * math.cos(angle), radius * math.sin(angle)
    corners = [(x + across * u - down * v, y + down * u + across * v) for u, v in _CORNERS[thing.shape]]
    brush.polygon(corners, fill=shade(rng, thing.colour))
