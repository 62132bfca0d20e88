"""What families of vision-language models differ in: how many tokens an image is, and what their tower takes.

A family is transformers' own image processor and tower, and the little that its processor class does around them: the
text that stands for an image in a prompt. Processor classes themselves are not used, for some of them want packages
for video.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from pie_backend_torch.tokenizer import Tokenizer
from pie_core.errors import UnsupportedError

Pixels = Mapping[str, Tensor]
"""What an image processor makes of one image, by the names of the tower's arguments."""


@dataclass(frozen=True)
class Parts:
    """What a family is made of. `model` has `get_image_features`; `own` is the processor's config of the checkpoint."""

    model: Any
    config: Any
    processor: Any
    own: Mapping[str, Any]
    tokenizer: Tokenizer

    @property
    def image_token(self) -> int:
        """Stands for one feature; nothing embeds it."""
        return int(self.config.image_token_id)

    def written(self, token: int, what: str) -> str:
        """A special token as text."""
        text = self.tokenizer.decode([token])
        if self.tokenizer.encode(text) != [token]:
            raise UnsupportedError(f"its tokenizer does not have {what} as one token ({token} is {text!r})")
        return text


class Family(ABC):
    """Sees images, each alone or many at once.

    sees_whole: each feature of an image attends to all of those that lie next to it. has_axes: see `axes`.
    """

    sees_whole: ClassVar[bool] = False
    has_axes: ClassVar[bool] = False

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def placeholder(self) -> str:
        """What stands for an image in the text of a prompt."""
        return self.parts.written(self.parts.image_token, "the image token")

    @abstractmethod
    def tokens(self, width: int, height: int) -> Sequence[int]:
        """What an image of so many pixels is in a prompt: `image_token` for each feature, and what is between them."""

    def axes(self, width: int, height: int) -> Sequence[tuple[int, int, int]] | None:
        """For each token where it stands on each axis, from the image's position on; None: one behind the other."""
        return None

    def pixels(self, image: Any) -> Pixels:
        """What the tower takes of a `PIL.Image.Image`: as the model's own processor has it."""
        return dict(self.parts.processor(images=[image], return_tensors="pt", do_convert_rgb=True))

    @abstractmethod
    def features(self, batch: Sequence[Pixels]) -> list[Tensor]:
        """The features of each image, [tokens, hidden], in one pass of the tower."""

    def check_size(self, width: int, height: int) -> None:
        """Raise `ArgumentError` for a size that the family does not take."""
        self.tokens(width, height)
