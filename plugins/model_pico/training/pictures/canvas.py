"""An empty canvas of a drawn size and background, the colours, and what is done to a finished drawing.

Drawings are made at varied sizes and aspect ratios and then go the way of every picture that is served: squeezed to
SIDE x SIDE by bicubic resampling, as the checkpoint's image processor does it.
"""

from collections.abc import Collection
from functools import cache
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIDE = 96  # pixels of what the vision tower sees, each way
Colour = tuple[int, int, int]
Pixels = NDArray[np.uint8]
COLOURS: dict[str, Colour] = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (50, 80, 220),
    "yellow": (240, 215, 40),
    "orange": (245, 140, 30),
    "purple": (140, 60, 180),
    "black": (20, 20, 20),
    "white": (250, 250, 250),
}
_FAR = 110  # of the background from every colour drawn on it, in RGB
_NOISE_SIDE = 512


def shade(rng: Random, name: str) -> Colour:
    """A colour as drawn: near the one that has its name."""
    red, green, blue = (min(255, max(0, value + rng.randint(-14, 14))) for value in COLOURS[name])
    return red, green, blue


def blank(rng: Random, colours: Collection[str]) -> Image.Image:
    """A canvas on which all `colours` stand out."""
    short = rng.randint(96, 192)
    long = round(short * rng.uniform(1, 1.4)) if rng.random() < 0.6 else short
    size = (long, short) if rng.random() < 0.6 else (short, long)
    return Image.new("RGB", size, _background(rng, [COLOURS[name] for name in colours]))


def _background(rng: Random, colours: Collection[Colour]) -> Colour:
    while True:
        grey = rng.choice([255, rng.randint(0, 255), rng.randint(200, 255)])
        tint = 0 if rng.random() < 0.4 else 25
        red, green, blue = (min(255, max(0, grey + rng.randint(-tint, tint))) for _ in range(3))
        if all((red - r) ** 2 + (green - g) ** 2 + (blue - b) ** 2 > _FAR**2 for r, g, b in colours):
            return red, green, blue


def contrasting(image: Image.Image) -> str:
    """Black or white, whichever stands out from the background (the top left corner's colour)."""
    corner = image.getpixel((0, 0))
    assert isinstance(corner, tuple)
    return "black" if sum(corner) > 3 * 127 else "white"


def pen(image: Image.Image) -> ImageDraw.ImageDraw:
    return ImageDraw.Draw(image)


def finished(rng: Random, image: Image.Image) -> Image.Image:
    """With the grain of a camera, half of the time."""
    if rng.random() < 0.5:
        return image
    pixels = np.asarray(image)
    height, width, _ = pixels.shape
    top, left = (rng.randrange(_NOISE_SIDE - side + 1) for side in (height, width))
    grain = _noise()[rng.randrange(3)][top : top + height, left : left + width]
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))


@cache
def _noise() -> list[NDArray[np.int16]]:
    """Grain of three strengths, drawn once: fresh noise for each picture takes longer than all else."""
    numbers = np.random.default_rng(0)
    return [numbers.normal(0, strength, (_NOISE_SIDE, _NOISE_SIDE, 3)).astype(np.int16) for strength in (4, 8, 14)]


def pixels(image: Image.Image) -> Pixels:
    """What the vision tower gets, before it is scaled to [-1, 1]: uint8 [SIDE, SIDE, 3]."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
