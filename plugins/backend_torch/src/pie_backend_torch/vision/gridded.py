"""Families that take an image in its own shape, with positions of several axes: Qwen2-VL and Qwen2.5-VL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from pie_backend_torch.vision.family import Family, Pixels
from pie_core.errors import ArgumentError


class Gridded(Family):
    """M-RoPE (Wang et al. 2024): a token of an image stands at one moment, in its row, in its column."""

    has_axes: ClassVar[bool] = True

    def tokens(self, width: int, height: int) -> Sequence[int]:
        rows, columns = self._grid(width, height)
        return [self.parts.image_token] * (rows * columns)

    def axes(self, width: int, height: int) -> Sequence[tuple[int, int, int]]:
        rows, columns = self._grid(width, height)
        return [(0, row, column) for row in range(rows) for column in range(columns)]

    def features(self, batch: Sequence[Pixels]) -> list[Tensor]:
        pixels, grids = (torch.cat([one[name] for one in batch]) for name in ("pixel_values", "image_grid_thw"))
        return list(self.parts.model.get_image_features(pixel_values=pixels, image_grid_thw=grids).pooler_output)

    def check_size(self, width: int, height: int) -> None:
        try:
            self._grid(width, height)
        except ValueError as error:
            raise ArgumentError(f"an image of {width}x{height} pixels is not taken by this model: {error}") from error

    def _grid(self, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of tokens."""
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

        processor = self.parts.processor
        side = processor.patch_size * processor.merge_size
        least, most = processor.size["shortest_edge"], processor.size["longest_edge"]
        tall, wide = smart_resize(height, width, factor=side, min_pixels=least, max_pixels=most)
        return tall // side, wide // side
