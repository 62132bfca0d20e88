"""Draw the example pictures that the package brings, of which training never saw one.

The seeds are chosen such that there is no grain, which would make files of 3 KB twenty times as large.
"""

from pathlib import Path
from random import Random

from pictures import Picture
from pictures.chart import Chart
from pictures.crowd import Crowd
from pictures.number import Number
from pictures.things import Thing, Things

FOLDER = Path(__file__).parents[1] / "src" / "pie_model_pico" / "examples"
_CIRCLE, _TRIANGLE = Thing("red", "circle", True, 0), Thing("yellow", "triangle", False, 7)
_TRIANGLES = [Thing("green", "triangle", cell < 5, cell) for cell in (0, 4, 7, 14)]
_DIAMONDS = [Thing("black", "diamond", cell > 5, cell) for cell in (3, 11, 13)]
EXAMPLES: dict[str, tuple[Picture, int]] = {  # with the seed of its drawing
    "shapes": (Things((_CIRCLE, Thing("purple", "star", False, 2), Thing("blue", "square", True, 4), _TRIANGLE)), 9),
    "before": (Things((_CIRCLE, Thing("blue", "square", False, 5), _TRIANGLE)), 20),
    "after": (Things((_CIRCLE, Thing("blue", "square", False, 4), _TRIANGLE)), 22),
    "crowd": (Crowd(tuple(sorted(_TRIANGLES + _DIAMONDS, key=lambda thing: thing.cell))), 15),
    "number": (Number("417"), 16),
    "chart": (Chart((4, 2, 9, 6), ("red", "blue", "green", "orange")), 16),
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, (picture, seed) in EXAMPLES.items():
        picture.draw(Random(seed)).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
