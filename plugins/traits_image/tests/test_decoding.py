"""Files in every mode: what is handed to the model's processor is what transformers' own loader makes of the file."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from pie_traits_image.decoding import decode, open_image
from pie_traits_image.testing.pictures import encoded, picture
from pie_traits_image.vision import ImageLimits
from PIL import Image, ImageOps
from transformers.image_transforms import convert_to_rgb

LIMITS = ImageLimits()


def rgb(image: Image.Image) -> NDArray[np.uint8]:
    """As transformers' processors make it."""
    made: NDArray[np.uint8] = convert_to_rgb(image, return_numpy=True)
    return made


def with_transparency(mode: str) -> Image.Image:
    image = picture(20, 30, 3, "RGBA")
    image.putalpha(picture(20, 30, 4, "L"))
    return image.convert(mode)


FILES = {
    "grey": encoded(picture(20, 30, 1, "L")),
    "palette": encoded(picture(20, 30, 1, "P")),
    "palette with one transparent colour": encoded(picture(20, 30, 1, "P"), transparency=0),
    "palette with transparencies": encoded(with_transparency("RGBA").quantize(16)),
    "alpha": encoded(with_transparency("RGBA")),
    "grey and alpha": encoded(with_transparency("LA")),
    "black and white": encoded(picture(20, 30, 1, "1")),
    "cmyk": encoded(picture(20, 30, 1, "CMYK"), "JPEG"),
    "grey jpeg": encoded(picture(20, 30, 1, "L"), "JPEG"),
    "progressive jpeg": encoded(picture(20, 30), "JPEG", progressive=True),
    "webp with alpha": encoded(with_transparency("RGBA"), "WEBP"),
    "one pixel": encoded(picture(1, 1)),
}


@pytest.mark.parametrize("what", FILES)
def test_a_picture_is_what_transformers_makes_of_the_file(what: str) -> None:
    data = FILES[what]
    found = decode(open_image(data, LIMITS, "test"), "test")
    assert np.array_equal(rgb(found), rgb(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_data_say(orientation: int) -> None:
    image = picture(20, 30)
    exif = image.getexif()
    exif[0x0112] = orientation
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encoded(image, kind, exif=exif)
        found = decode(open_image(data, LIMITS, "test"), "test")
        assert np.array_equal(rgb(found), rgb(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))
        assert found.size == ((30, 20) if orientation > 4 else (20, 30))


def test_16_bits_for_a_pixel_become_8_and_are_not_cut_off() -> None:
    values = (np.arange(600, dtype=np.uint16) * 109).reshape(30, 20)
    data = encoded(Image.fromarray(values))
    found = np.asarray(decode(open_image(data, LIMITS, "test"), "test"))
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - values / 257).max() <= 1
