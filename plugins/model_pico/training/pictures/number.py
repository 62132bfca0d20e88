"""A number of one to four digits, in type or in the seven segments of a display."""

from dataclasses import dataclass
from functools import cache
from random import Random

from corpus.example import Split, held_out
from PIL import Image, ImageFont

from pictures.canvas import COLOURS, blank, finished, pen, shade

_SEGMENTS = {  # top, upper left, upper right, middle, lower left, lower right, bottom
    "0": "1110111",
    "1": "0010010",
    "2": "1011101",
    "3": "1011011",
    "4": "0111010",
    "5": "1101011",
    "6": "1101111",
    "7": "1010010",
    "8": "1111111",
    "9": "1111011",
}
_ENDS = [(0, 0, 1, 0), (0, 0, 0, 1), (1, 0, 1, 1), (0, 1, 1, 1), (0, 1, 0, 2), (1, 1, 1, 2), (0, 2, 1, 2)]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Number:
    digits: str

    def belongs_to(self, split: Split) -> bool:
        """Of one digit there is nothing to hold out but the drawing."""
        return len(self.digits) == 1 or held_out(f"number {self.digits}") == (split == "held_out")

    def draw(self, rng: Random) -> Image.Image:
        colour = rng.choice(list(COLOURS))
        image = blank(rng, [colour])
        height = min(image.height * 0.75, image.width * 0.85 / len(self.digits) * 1.55) * rng.uniform(0.7, 1)
        if rng.random() < 0.6:
            _type(rng, image, self.digits, height, colour)
        else:
            _segments(rng, image, self.digits, height, colour)
        if rng.random() < 0.5:
            image = image.rotate(rng.uniform(-6, 6), fillcolor=image.getpixel((0, 0)))
        return finished(rng, image)


def sample(rng: Random, split: Split, fewest: int = 1, most: int = 4) -> Number:
    while True:
        length = rng.randint(fewest, most)
        first = rng.choice("0123456789" if length == 1 else "123456789")
        number = Number(first + "".join(rng.choices("0123456789", k=length - 1)))
        if number.belongs_to(split):
            return number


@cache
def font(height: int) -> Font:
    """The typeface that Pillow brings along, so that it is the same everywhere."""
    return ImageFont.load_default(height)


def _type(rng: Random, image: Image.Image, text: str, height: float, colour: str) -> None:
    brush, face = pen(image), font(2 * round(height * 1.25 / 2))
    left, top, right, bottom = brush.textbbox((0, 0), text, font=face)
    x, y = (rng.uniform(0.2, 0.8) * max(0, room) for room in (image.width - right + left, image.height - bottom + top))
    heavy = rng.choice([0, 0, 1, 2]) if height > 30 else 0
    brush.text((x - left, y - top), text, fill=shade(rng, colour), font=face, stroke_width=heavy)


def _segments(rng: Random, image: Image.Image, text: str, height: float, colour: str) -> None:
    brush, fill = pen(image), shade(rng, colour)
    long = height / 2
    wide = min(long * rng.uniform(0.8, 1.1), image.width * 0.9 / len(text) / 1.5)
    pitch = wide * 1.45
    x = (image.width - pitch * len(text) + pitch - wide) * rng.uniform(0.3, 0.7)
    y = (image.height - height) * rng.uniform(0.3, 0.7)
    heavy = max(2, round(height * rng.uniform(0.09, 0.16)))
    for digit in text:
        for lit, (x0, y0, x1, y1) in zip(_SEGMENTS[digit], _ENDS, strict=True):
            if lit == "1":
                ends = (x + wide * x0, y + long * y0, x + wide * x1, y + long * y1)
                brush.line(ends, fill=fill, width=heavy)
        x += pitch
