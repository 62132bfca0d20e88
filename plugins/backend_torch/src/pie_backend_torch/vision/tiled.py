"""Families that cut large images into tiles: Idefics3 (Laurençon et al. 2024) and SmolVLM (Marafioti et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from pie_backend_torch.vision.family import Family, Parts, Pixels
from pie_core.errors import UnsupportedError

FENCE, GLOBAL = "<fake_token_around_image>", "<global-img>"


class Tiled(Family):
    """Rows and columns of tiles, each behind its name, then the whole image once more; or only that."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        vision = parts.config.vision_config
        self._each = int((vision.image_size // vision.patch_size) ** 2 / parts.config.scale_factor**2)
        said = parts.own.get("image_seq_len", self._each)
        if said != self._each:
            raise UnsupportedError(f"its processor writes {said} tokens for a tile, its tower makes {self._each}")
        self._image = self.placeholder()
        self._encoded = lru_cache(1024)(self._encode)  # by rows and columns

    def tokens(self, width: int, height: int) -> Sequence[int]:
        _, rows, columns = self.parts.processor.get_number_of_image_patches(height, width)
        return self._encoded(rows, columns)

    def pixels(self, image: object) -> Pixels:
        made = self.parts.processor(images=[[image]], return_tensors="pt", do_convert_rgb=True)
        return {name: made[name][0] for name in ("pixel_values", "pixel_attention_mask")}

    def features(self, batch: Sequence[Pixels]) -> list[Tensor]:
        """Tiles of equal shape in one pass, from whatever images."""
        found: dict[int, Tensor] = {}
        alike: dict[tuple[int, ...], list[int]] = {}
        for place, one in enumerate(batch):
            alike.setdefault(tuple(one["pixel_values"].shape[1:]), []).append(place)
        for places in alike.values():
            pixels, shown = (
                torch.cat([batch[place][name] for place in places])[None]
                for name in ("pixel_values", "pixel_attention_mask")
            )
            seen = self.parts.model.get_image_features(pixel_values=pixels, pixel_attention_mask=shown).pooler_output
            counts = [len(batch[place]["pixel_values"]) * self._each for place in places]
            found |= zip(places, torch.split(torch.cat(list(seen)), counts), strict=True)
        return [found[place] for place in range(len(batch))]

    def _encode(self, rows: int, columns: int) -> Sequence[int]:
        tile = self._image * self._each
        tiles = [
            "".join(f"{FENCE}<row_{row + 1}_col_{column + 1}>{tile}" for column in range(columns)) + "\n"
            for row in range(rows)
        ]
        text = "".join(tiles) + "\n" * bool(tiles) + f"{FENCE}{GLOBAL}{tile}{FENCE}"
        return tuple(self.parts.tokenizer.encode(text))
