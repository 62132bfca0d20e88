"""Families that make every image equally large: LLaVA, PaliGemma, Gemma 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from pie_backend_torch.vision.family import Family, Parts, Pixels
from pie_core.errors import UnsupportedError


class FixedFamily(Family):
    """As many features for each image, seen once when the family is made."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._tokens: Sequence[int] = self._around([parts.image_token] * self._count())

    def tokens(self, width: int, height: int) -> Sequence[int]:
        return self._tokens

    def features(self, batch: Sequence[Pixels]) -> list[Tensor]:
        pixels = torch.cat([one["pixel_values"] for one in batch])
        return list(self.parts.model.get_image_features(pixel_values=pixels).pooler_output)

    def _around(self, features: list[int]) -> list[int]:
        """The tokens of an image, from those of its features."""
        return features

    def _count(self) -> int:
        """Features of an image: those of any, for all are made equally large. Raises `UnsupportedError` if not."""
        from PIL import Image

        shapes = {self.pixels(Image.new("RGB", size))["pixel_values"].shape for size in ((40, 30), (30, 80))}
        if len(shapes) > 1:
            raise UnsupportedError(f"its image processor makes images of different sizes: {sorted(map(tuple, shapes))}")
        side = next(iter(shapes))
        weight = next(self.parts.model.parameters())
        blank = torch.zeros(side, dtype=weight.dtype, device=weight.device)
        return len(self.features([{"pixel_values": blank}])[0])


class Llava(FixedFamily):
    """LLaVA 1.5 (Liu et al. 2023): the patches of CLIP or SigLIP through two linear layers."""


class PaliGemma(FixedFamily):
    """PaliGemma 1 and 2 (Beyer et al. 2024). The prompt behind the image sees and is seen, too: pass a mask."""

    sees_whole: ClassVar[bool] = True


class Gemma3(FixedFamily):
    """Gemma 3 (2025): 256 features between two tokens and empty lines. Crops ("pan and scan") are left out."""

    sees_whole: ClassVar[bool] = True

    def __init__(self, parts: Parts) -> None:
        if parts.processor.do_pan_and_scan:
            raise UnsupportedError("its image processor cuts images up (do_pan_and_scan), which is not served")
        super().__init__(parts)

    def placeholder(self) -> str:
        return self.parts.written(int(self.parts.config.boi_token_index), "the begin of an image")

    def _around(self, features: list[int]) -> list[int]:
        config, parts, begin = self.parts.config, self.parts, self.placeholder()
        end = parts.written(int(config.eoi_token_index), "the end of an image")
        before, after = parts.tokenizer.encode(f"\n\n{begin}"), parts.tokenizer.encode(f"{end}\n\n")
        return [*before, *features, *after]
