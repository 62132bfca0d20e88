"""The vision of a loaded model, as `pie_traits_image.vision.Vision` has it: any images into rows of the Embed pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pie_backend_torch.decoder import Decoder
from pie_backend_torch.places import ImageTokens
from pie_backend_torch.upload import indices, upload
from pie_backend_torch.vision.family import Family, Pixels

Write = Callable[[Sequence[int], Tensor, ImageTokens], None]

MOST_NUMBERS = 1 << 25  # of the pixels in one pass of the tower; a larger batch takes several


class Limits(NamedTuple):
    """The largest images that are taken."""

    bytes: int
    pixels: int


class Extent(NamedTuple):
    """What an image takes in the model."""

    embeds: int
    positions: int


class Prepared(NamedTuple):
    """An image on its way to the tower."""

    size: tuple[int, int]  # pixels
    pixels: Pixels


class TorchVision:
    """Sees through a family, opened for the first program with images: a server of texts never pays for its tower.

    open_eyes: reads the tower. write: puts vectors [n, hidden] into
    rows of the Embed pool, with where they stand (`TorchBackend.write_image`).
    """

    def __init__(self, open_eyes: Callable[[], Family], limits: Limits, decoder: Decoder, write: Write) -> None:
        self.limits = limits
        self._open_eyes = open_eyes
        self._family: Family | None = None
        self._opening = Lock()
        self._embed, self._write = decoder.embed, write
        self._dtype, self._device = decoder.dtype, decoder.device
        self.measure = lru_cache(4096)(self._measure)

    def open(self) -> Family:
        """The family; read by whoever wants it first, while others wait for it. Any thread."""
        with self._opening:
            if self._family is None:
                self._family = self._open_eyes()
            return self._family

    def placeholder(self) -> str:
        """On a thread of the host."""
        return self.open().placeholder()

    def prepare(self, image: Any) -> Prepared:
        """On a thread of the host."""
        with torch.inference_mode():
            return Prepared(image.size, self.open().pixels(image))

    @torch.inference_mode()
    def embed(self, looks: Sequence[Any]) -> None:
        """On the device thread."""
        family = self.open()
        for batch in _batches(looks):
            pixels = [self._on_device(look.prepared.pixels) for look in batch]
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # who asks for float32 gets it
                seen = family.features(pixels)
            for look, features in zip(batch, seen, strict=True):
                self._write_one(family, look, features)

    def _measure(self, width: int, height: int) -> Extent:
        family = self.open()
        family.check_size(width, height)
        count, axes = len(family.tokens(width, height)), family.axes(width, height)
        return Extent(count, count if axes is None else 1 + max(map(max, axes)))

    def _write_one(self, family: Family, look: Any, features: Tensor) -> None:
        width, height = look.prepared.size
        tokens = family.tokens(width, height)
        marks = [token == family.parts.image_token for token in tokens]
        vectors = features.to(self._dtype)
        if not all(marks):
            ids = [0 if mark else token for token, mark in zip(tokens, marks, strict=True)]
            around = self._embed(indices(ids, self._device))
            vectors = around.index_copy(
                0, indices([at for at, mark in enumerate(marks) if mark], self._device), vectors
            )
        together = marks if family.sees_whole else [False] * len(marks)
        self._write(look.rows, vectors, ImageTokens(look.position, family.axes(width, height), together))

    def _on_device(self, pixels: Pixels) -> Pixels:
        """Floating-point tensors as the tower's weights are."""
        moved = {name: upload(tensor, self._device) for name, tensor in pixels.items()}
        return {name: one.to(self._dtype) if one.is_floating_point() else one for name, one in moved.items()}


def _batches(looks: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """As many at once as their pixels allow, at least one."""
    batch: list[Any] = []
    count = 0
    for look in looks:
        size = sum(tensor.numel() for tensor in look.prepared.pixels.values())
        if batch and count + size > MOST_NUMBERS:
            yield batch
            batch, count = [], 0
        batch.append(look)
        count += size
    yield batch
