"""The seam to a backend: what it offers for a model that can see. The rest is this package's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable


class Extent(NamedTuple):
    """What an image takes in the model: Embeds, and positions (see `NumPositionsNeeded`)."""

    embeds: int
    positions: int


@dataclass(frozen=True)
class ImageLimits:
    """The largest images that are taken: bytes of the file, pixels of the picture."""

    bytes: int = 8 << 20
    pixels: int = 50_000_000


class Look(NamedTuple):
    """One image to be seen: what `Vision.prepare` made of it, and the rows of the Embed pool to write, in order."""

    prepared: Any
    rows: Sequence[int]
    position: int  # of the first


class Vision(Protocol):
    """The vision tower of a loaded model, with all that its family does around it. Constant."""

    limits: ImageLimits

    def open(self) -> object:
        """Do what was put off until there are images, such as reading the tower; nothing if that is done.

        On a thread of the host, by several at once, before a program that names the trait begins. It may take seconds.
        Raises `PieError`: the program does not begin then, and the next one tries again.
        """

    def placeholder(self) -> str:
        """The text that the model's own processor takes for one image of a prompt. On a thread of the host."""

    def measure(self, width: int, height: int) -> Extent:
        """What an image of so many pixels takes. Quick; any thread. Raises `ArgumentError` if the family refuses it."""

    def prepare(self, image: Any) -> Any:
        """What the tower takes of a `PIL.Image.Image` that was decoded and turned upright; its mode is as it came.

        On a thread of the host, several at a time. Equal to what the model's own processor makes of the same image.
        """

    def embed(self, looks: Sequence[Look]) -> None:
        """See images of any sizes and write their Embeds. On the device thread; `len(rows)` is what `measure` said.

        What an image gives does not depend on its neighbours, but for rounding.
        """


@runtime_checkable
class SeesImages(Protocol):
    """A backend that may be able to see: one with this method has trait `input_image` wherever it does not raise."""

    def open_vision(self) -> Vision:
        """The vision of the loaded model; called once, before the first command.

        Raises `UnsupportedError` with why not: no tower, a family that is not known, a missing file of the checkpoint.
        """
