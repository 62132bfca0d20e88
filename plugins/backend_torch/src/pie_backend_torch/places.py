"""Where Embeds stand, for models in which a position is not all there is to say: some that see.

A token attends to what stands *at or before* it. For text that is told by positions; among the tokens of an image it is
not, for they may all stand at few positions, or all see each other. So an Embed has an *order* besides: what attention
compares. And where rotary positions have several axes, it has one for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pie_backend_torch.upload import indices, upload

STRIDE = 1 << 20  # orders to a position; more than an image has tokens
AXES = 3  # time, row, column


class ImageTokens(NamedTuple):
    """Where the tokens of an image stand."""

    position: int  # of the image
    axes: Sequence[tuple[int, int, int]] | None  # of each token, from there on; None: one behind the other
    together: Sequence[bool]  # those of which each sees all the others that lie next to each other

    def orders(self) -> list[int]:
        """What attention compares, for each token."""
        step = STRIDE if self.axes is None else 1  # with axes, the text behind it may stand close
        orders: list[int] = []
        for place, joined in enumerate(self.together):
            joins = joined and place > 0 and self.together[place - 1]
            orders.append(orders[-1] if joins else self.position * STRIDE + place * step)
        return orders


class Places:
    """[Embeds] orders and [Embeds, axes] rotary positions, a row per physical index; axes if the model has some."""

    def __init__(self, embeds: int, axes: bool, device: torch.device) -> None:
        self.orders = torch.zeros(embeds, dtype=torch.int64, device=device)
        self.axes = torch.zeros(embeds, AXES, dtype=torch.int64, device=device) if axes else None

    @property
    def tensors(self) -> list[Tensor]:
        """All that there is for each Embed."""
        return [self.orders] if self.axes is None else [self.orders, self.axes]

    def put_text(self, rows: Tensor, positions: Tensor) -> None:
        """Tokens of text, rows [n] at positions [n]."""
        self.orders.index_copy_(0, rows, positions * STRIDE)
        if self.axes is not None:
            self.axes.index_copy_(0, rows, positions[:, None].expand(-1, AXES))

    def put_image(self, rows: Sequence[int], image: ImageTokens) -> None:
        """The tokens of an image."""
        device = self.orders.device
        where = indices(rows, device)
        self.orders.index_copy_(0, where, indices(image.orders(), device))
        if self.axes is not None:
            assert image.axes is not None
            stands = torch.tensor(image.axes, dtype=torch.int64) + image.position
            self.axes.index_copy_(0, where, upload(stands, device))
