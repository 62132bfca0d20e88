"""A `FakeBackend` that sees: the "features" of a picture are hashes of its pixels, one for each 16x16 of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pie_core.testing.fake import FakeBackend, digest
from pie_traits_image.vision import Extent, ImageLimits, Look

SIDE = 16  # pixels of a patch


class FakeVision:
    """See `Vision`. `seen` counts the images."""

    def __init__(self, embeds: dict[int, bytes], limits: ImageLimits) -> None:
        self.limits = limits
        self.seen = 0
        self._embeds = embeds

    def open(self) -> None:
        """There is nothing to read."""

    def placeholder(self) -> str:
        """What no template of a `FakeBackend` writes of itself."""
        return "<image>"

    def measure(self, width: int, height: int) -> Extent:
        """A patch each, and one more."""
        count = -(-width // SIDE) * -(-height // SIDE) + 1
        return Extent(count, count)

    def prepare(self, image: Any) -> Any:
        """Its pixels, without alpha."""
        picture = image.convert("RGB")
        return picture.size, picture.tobytes()

    def embed(self, looks: Sequence[Look]) -> None:
        """Hashes."""
        self.seen += len(looks)
        for look in looks:
            for place, row in enumerate(look.rows):
                self._embeds[row] = digest("image", look.prepared, place)


class SeeingBackend(FakeBackend):
    """Options are those of `FakeBackend`, and the limits of images."""

    def __init__(self, limits: ImageLimits | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.vision = FakeVision(self.embeds, limits or ImageLimits())

    def open_vision(self) -> FakeVision:
        """See `SeesImages`."""
        return self.vision
