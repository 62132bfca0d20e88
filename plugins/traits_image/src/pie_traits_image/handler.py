"""The handler for any backend that sees: pictures are decoded on the host, the backend's tower looks at them."""

from __future__ import annotations

from collections.abc import Sequence

from pie_core import ArgumentError, Foundation, UnsupportedError
from pie_traits_image.decoding import check_size, decode, open_image, seen_size
from pie_traits_image.input_image import (
    EmbedImg,
    ImageMeasure,
    ImagePlaceholder,
    MeasureImg,
    NumEmbsNeeded,
    NumPositionsNeeded,
)
from pie_traits_image.vision import Extent, Look, SeesImages


class InputImageHandler:
    """What is the same for every family and backend; the rest is the backend's `Vision`."""

    def __init__(self, ground: Foundation) -> None:
        backend = ground.backend
        if not isinstance(backend, SeesImages):
            raise UnsupportedError("this backend has nothing to see images with (no `open_vision`)")
        self._vision = backend.open_vision()

    def warm_up(self) -> None:
        """Open the model's eyes."""
        self._vision.open()

    # on the control thread

    def num_embs_needed(self, query: NumEmbsNeeded) -> int:
        """Count Embeds."""
        return self._extent(query.size, "num_embs_needed").embeds

    def num_positions_needed(self, query: NumPositionsNeeded) -> int:
        """Count positions."""
        return self._extent(query.size, "num_positions_needed").positions

    def _extent(self, size: Sequence[int], call: str) -> Extent:
        if len(size) != 2:
            raise ArgumentError(f"{call}: size is (width, height), got {len(size)} numbers")
        width, height = size
        check_size(width, height, self._vision.limits, call)
        return self._vision.measure(width, height)

    # on threads of the host

    def image_placeholder(self, batch: Sequence[ImagePlaceholder]) -> list[str]:
        """Ask the family."""
        return [self._vision.placeholder() for _ in batch]

    def measure_img(self, batch: Sequence[MeasureImg]) -> list[ImageMeasure]:
        """Read the head of a file."""
        (command,) = batch
        call = "measure_img"
        width, height = seen_size(open_image(command.blob, self._vision.limits, call), command.blob, call)
        extent = self._vision.measure(width, height)
        return [ImageMeasure(width, height, extent.embeds, extent.positions)]

    def stage_embed_img(self, command: EmbedImg) -> None:
        """Decode, and make of it what the tower takes."""
        call = "embed_img"
        image = open_image(command.blob, self._vision.limits, call)
        width, height = seen_size(image, command.blob, call)
        wanted = self._vision.measure(width, height).embeds
        if wanted != len(command.emb):
            raise ArgumentError(
                f"embed_img: an image of {width}x{height} pixels takes {wanted} Embeds, {len(command.emb)} were given"
            )
        command.prepared = self._vision.prepare(decode(image, call))
        command.blob = b""  # not wanted any more

    # on the device thread

    def embed_img(self, batch: Sequence[EmbedImg]) -> None:
        """See."""
        self._vision.embed([Look(c.prepared, [embed.index for embed in c.emb], c.pos) for c in batch])
