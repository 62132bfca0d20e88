"""Many shapes of few kinds, to be counted."""

from dataclasses import dataclass
from random import Random

from corpus.example import Split, held_out
from PIL import Image

from pictures.canvas import COLOURS
from pictures.things import SHAPES, Thing, draw_grid

_SIDE = 4  # cells each way
MOST = 9


@dataclass(frozen=True)
class Crowd:
    things: tuple[Thing, ...]

    def belongs_to(self, split: Split) -> bool:
        key = " ".join(f"{thing.colour} {thing.shape} {thing.cell}" for thing in self.things)
        return held_out(key) == (split == "held_out")

    def draw(self, rng: Random) -> Image.Image:
        return draw_grid(rng, self.things, _SIDE)


def sample(rng: Random, split: Split, most: int = MOST) -> Crowd:
    while True:
        kinds = [(rng.choice(list(COLOURS)), rng.choice(SHAPES)) for _ in range(rng.choice([1, 2, 2, 3]))]
        cells = sorted(rng.sample(range(_SIDE * _SIDE), rng.randint(1, most)))
        crowd = Crowd(tuple(Thing(*rng.choice(kinds), large=rng.random() < 0.5, cell=cell) for cell in cells))
        if crowd.belongs_to(split):
            return crowd
