"""A bar chart: two to five bars with letters under them, values from 1 to 9 on an axis to 10."""

from dataclasses import dataclass
from random import Random

from corpus.example import Split, held_out
from PIL import Image

from pictures.canvas import COLOURS, blank, contrasting, finished, pen, shade
from pictures.number import font

LETTERS = "ABCDE"
_TOP = 10


@dataclass(frozen=True)
class Chart:
    values: tuple[int, ...]  # of A, B, ...
    colours: tuple[str, ...]  # of the bars, all different

    def belongs_to(self, split: Split) -> bool:
        return held_out(f"chart {self.values}") == (split == "held_out")

    def draw(self, rng: Random) -> Image.Image:
        image = blank(rng, self.colours)
        ink, brush = COLOURS[contrasting(image)], pen(image)
        left, right = image.width * rng.uniform(0.13, 0.18), image.width * rng.uniform(0.93, 0.98)
        top, bottom = image.height * rng.uniform(0.05, 0.1), image.height * rng.uniform(0.82, 0.86)
        unit, pitch = (bottom - top) / _TOP, (right - left) / len(self.values)
        small = font(max(9, round(image.height * 0.09)))
        for mark in (5, 10) if rng.random() < 0.5 else (2, 4, 6, 8, 10):
            brush.line((left, bottom - mark * unit, right, bottom - mark * unit), fill=(128, 128, 128))
            if mark in (5, 10):
                brush.text((left - 2, bottom - mark * unit), str(mark), fill=ink, font=small, anchor="rm")
        large = font(round(image.height * 0.14))
        share = rng.uniform(0.5, 0.8)
        for number, (value, colour) in enumerate(zip(self.values, self.colours, strict=True)):
            middle = left + (number + 0.5) * pitch
            half = pitch * share / 2
            brush.rectangle((middle - half, bottom - value * unit, middle + half, bottom), fill=shade(rng, colour))
            brush.text((middle, (bottom + image.height) / 2), LETTERS[number], fill=ink, font=large, anchor="mm")
        brush.line((left, top, left, bottom, right, bottom), fill=ink, width=2)
        return finished(rng, image)


def sample(rng: Random, split: Split, most: int = len(LETTERS)) -> Chart:
    while True:
        count = rng.randint(2, most)
        colours = rng.sample(list(COLOURS), count) if rng.random() < 0.6 else [rng.choice(list(COLOURS))] * count
        chart = Chart(tuple(rng.randint(1, 9) for _ in range(count)), tuple(colours))
        if chart.belongs_to(split):
            return chart
