"""Trait `input_image`: a picture becomes Embeds, as many as the model's own processor makes of it.

What an image stands for is all that the model's processor puts in place of one image placeholder of a prompt: the
features of the vision tower, and the tokens that it writes around and between them, if it does. So a prompt with an
image is the text before it, these Embeds, the text behind it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pie_core import U32, ArgumentError, Command, Embed, ModelInfo, Planned, Query, Trait, Writes, hookimpl


class ImageMeasure(msgspec.Struct, frozen=True):
    """What an image takes in a model."""

    width: U32  # pixels, as it is seen: turned as its EXIF orientation says
    height: U32
    embeds: U32  # how many Embeds `embed_img` writes
    positions: U32  # how far the text behind it is from where it begins; as many, but where positions have several axes


class NumEmbsNeeded(Query):
    """How many Embeds `embed_img` writes for an image of this size. Exact.

    size: (width, height) in pixels, as it is seen (turned as its EXIF orientation says).

    ArgumentError: not two numbers, no pixels or too many, over 200 times as long as wide.
    """

    target = "model"
    returns = U32
    size: list[U32]


class NumPositionsNeeded(Query):
    """How many positions an image of this size takes: the text behind it begins so many after `pos`.

    One for each Embed, but in models whose positions have several axes (Qwen-VL): there an image takes as many as the
    longer side of its grid. size: as for `num_embs_needed`.

    ArgumentError: as for `num_embs_needed`.
    """

    target = "model"
    returns = U32
    size: list[U32]


class ImagePlaceholder(Command):
    """The text that stands for an image in a prompt of this model: what its chat template writes for one.

    Where it stands in the text of a conversation go the Embeds of the image, and nothing else of it: what the template
    writes around it (`<|vision_start|>` of Qwen-VL) is text.
    """

    place = "host"
    returns = str


class MeasureImg(Command):
    """The size of an image in pixels, and what it takes. Reads the head of the file only, on a thread of the host.

    blob: the bytes of a PNG, JPEG or WebP file.

    ArgumentError: where it is awaited: no PNG, JPEG or WebP image, an animation, too many bytes or pixels, over 200
        times as long as wide.
    """

    place = "host"
    returns = ImageMeasure
    blob: bytes


class EmbedImg(Command):
    """Write the Embeds of an image. It is decoded on a thread of the host, and seen by the model's vision tower.

    blob: the bytes of a PNG, JPEG or WebP file.
    emb: as many Embeds as `num_embs_needed` says, in order.
    pos: the position of the first; the others follow, one each, however the model counts inside an image. Text goes on
        at `pos + num_positions_needed`.

    Images attend as their model has it: where it sees all of an image from each of its places (Gemma 3), its Embeds are
    to be run in one forward pass.

    After an error the Embeds are unwritten.

    ArgumentError: no bytes, no Embeds, one named twice, positions outside the model's range; where it is awaited: as
        for `measure_img`, a broken file, another number of Embeds than it takes.
    """

    staged = True
    blob: bytes
    emb: Writes[Embed]
    pos: U32 = 0
    prepared: Planned[Any] = None  # what the vision tower takes: made on the host, by `Vision.prepare`

    @property
    def weight(self) -> int:
        return len(self.emb)

    def prepare(self, model: ModelInfo) -> None:
        if not self.emb:
            raise ArgumentError("embed_img: `emb` is empty; num_embs_needed tells how many an image takes")
        if len(self.emb) > 1 and len(set(map(id, self.emb))) < len(self.emb):
            raise ArgumentError("embed_img: an Embed is named twice in `emb`")
        if not self.blob:
            raise ArgumentError("embed_img: `blob` is empty; pass the bytes of a PNG, JPEG or WebP file")
        if self.pos + len(self.emb) > model.max_position:
            raise ArgumentError(
                f"embed_img: positions {self.pos}..{self.pos + len(self.emb) - 1} reach outside the model's range of "
                f"{model.max_position}"
            )
        for place, embed in enumerate(self.emb):
            embed.position = self.pos + place


INPUT_IMAGE = Trait(
    name="input_image",
    version="1.1.0",
    doc="Images in: a picture becomes Embeds.",
    calls=(NumEmbsNeeded, NumPositionsNeeded, ImagePlaceholder, MeasureImg, EmbedImg),
    requires=("allocate>=1,<2", "forward>=1,<2"),
)


@hookimpl
def pie_trait() -> Trait:
    return INPUT_IMAGE
