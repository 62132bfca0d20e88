"""From the bytes of a file to a picture, within limits. The only place where a stranger's image meets a parser.

The head is read first: format, size and number of frames decide before a pixel is decoded. What is handed on is what
pillow makes of the file, turned as its EXIF orientation says; palettes, alpha and CMYK are left to the processor of the
model, as transformers has it. Only 16 bits for a pixel become 8 here, for pillow would cut them off at 255.
"""

from __future__ import annotations

import io

from PIL import Image, ImageOps, UnidentifiedImageError

from pie_core import ArgumentError
from pie_traits_image.vision import ImageLimits

FORMATS = ("PNG", "JPEG", "WEBP")
MOST_STRETCHED = 200  # times as long as wide: a processor that scales the shorter side would make it enormous
MOST_SCANS = 100  # of a progressive JPEG; each costs a pass over all pixels
_SCAN = b"\xff\xda"
_PNG_EXIF = (b"eXIf", b"Raw profile type exif")
_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # orientations that swap width and height
_BROKEN = (OSError, ValueError, SyntaxError, ArithmeticError, LookupError, TypeError, EOFError, MemoryError, Warning)


def open_image(data: bytes, limits: ImageLimits, call: str) -> Image.Image:
    """The picture in a file, not decoded yet. Raises `ArgumentError` for what cannot be or is not taken."""
    if len(data) > limits.bytes:
        raise ArgumentError(f"{call}: an image file of {len(data)} bytes; at most {limits.bytes} are taken")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        frames = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
    except UnidentifiedImageError as error:
        raise ArgumentError(f"{call}: the {len(data)} bytes are no PNG, JPEG or WebP image") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ArgumentError(f"{call}: {_first_words(error)}; at most {limits.pixels} pixels are taken") from error
    except _BROKEN as error:
        raise ArgumentError(f"{call}: the image is broken ({_first_words(error)})") from error
    if frames > 1:
        raise ArgumentError(f"{call}: the image is an animation of {frames} frames; send one of them")
    _check_size(*image.size, limits, call)
    if image.format in ("JPEG", "MPO") and data.count(_SCAN) > MOST_SCANS:
        raise ArgumentError(f"{call}: the JPEG has over {MOST_SCANS} scans; save it anew")
    return image


def check_size(width: int, height: int, limits: ImageLimits, call: str) -> None:
    """Raise `ArgumentError` for a size in pixels that is not taken."""
    if width < 1 or height < 1:
        raise ArgumentError(f"{call}: an image of {width}x{height} pixels has none")
    _check_size(width, height, limits, call)


def seen_size(image: Image.Image, data: bytes, call: str) -> tuple[int, int]:
    """Width and height as it is seen: those of `decode`, without decoding."""
    try:
        # of a PNG file pillow would decode all pixels to see whether any EXIF data come behind them
        asked = image.format != "PNG" or any(mark in data for mark in _PNG_EXIF)
        turned = asked and image.getexif().get(_ORIENTATION) in _TURNED
    except _BROKEN as error:
        raise ArgumentError(f"{call}: the EXIF data are broken ({_first_words(error)})") from error
    width, height = image.size
    return (height, width) if turned else (width, height)


def decode(image: Image.Image, call: str) -> Image.Image:
    """All pixels, upright. Raises `ArgumentError` if the file is cut off or broken."""
    try:
        image.load()
        return _in_8_bits(ImageOps.exif_transpose(image))
    except _BROKEN as error:
        raise ArgumentError(f"{call}: the image is broken or cut off ({_first_words(error)})") from error


def _in_8_bits(image: Image.Image) -> Image.Image:
    if not image.mode.startswith("I"):
        return image
    return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")  # 65535 becomes 255


def _check_size(width: int, height: int, limits: ImageLimits, call: str) -> None:
    if width * height > limits.pixels:
        raise ArgumentError(
            f"{call}: an image of {width}x{height} pixels; at most {limits.pixels} in all are taken: make it smaller"
        )
    if max(width, height) > MOST_STRETCHED * min(width, height):
        raise ArgumentError(
            f"{call}: an image of {width}x{height} pixels is over {MOST_STRETCHED} times as long as wide; cut it"
        )


def _first_words(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
