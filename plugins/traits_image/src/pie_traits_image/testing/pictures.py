"""Files of pictures for tests: sound ones in every format and mode, and such as must be refused."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

from PIL import Image


def picture(width: int, height: int, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """Coarse noise, the same for the same arguments."""
    chance = random.Random(f"{width}x{height}/{seed}")
    side = 8
    small = Image.frombytes("RGB", (side, side), chance.randbytes(3 * side * side))
    return small.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The file of a picture."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(width: int, height: int, seed: int = 0) -> bytes:
    """A picture as a PNG file."""
    return encoded(picture(width, height, seed))


def hollow_png(width: int, height: int) -> bytes:
    """A PNG file whose head promises so many pixels, of which none are there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def animation(kind: str = "WEBP") -> bytes:
    """Three frames."""
    frames = [picture(20, 20, seed) for seed in range(3)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)


def refused_files() -> dict[str, tuple[bytes, str]]:
    """By what is wrong with it: a file, and words of the error that it must get."""
    whole = png(40, 30)
    jpeg = encoded(picture(64, 64), "JPEG")
    return {
        "no image": (b"This is no picture at all, whatever its name says.", "no PNG, JPEG or WebP"),
        "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "no PNG, JPEG or WebP"),
        "gif": (encoded(picture(8, 8), "GIF"), "no PNG, JPEG or WebP"),
        "cut off": (whole[: len(whole) // 2], "broken or cut off"),
        "cut off jpeg": (jpeg[: len(jpeg) // 2], "broken or cut off"),
        "half a head": (whole[:20], "broken"),
        "animated": (animation(), "animation of 3 frames"),
        "animated png": (animation("PNG"), "animation of 3 frames"),
        "20,000 x 20,000": (hollow_png(20_000, 20_000), "pixels are taken"),
        "9,000 x 9,000": (hollow_png(9_000, 9_000), "9000x9000 pixels; at most"),
        "60,000 x 60,000": (hollow_png(60_000, 60_000), "pixels are taken"),
        "a line": (hollow_png(3000, 2), "over 200 times as long as wide"),
        "hollow": (hollow_png(40, 30), "broken or cut off"),
        "many scans": (jpeg + b"\xff\xda" * 200, "over 100 scans"),
    }
