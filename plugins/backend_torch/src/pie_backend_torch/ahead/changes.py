"""Biases and penalties on the device: what changes the distributions of decodes before a token is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Changes:
    """What is added to the log-probabilities of n rows; see `inferlet.adjusting.Adjustment`.

    bias: of each token, [n, vocab] float32. counts: how often each was drawn, [n, vocab] int32. presence, frequency:
    what is taken off for having been drawn, and for each time, [n] float64.
    """

    bias: Tensor
    counts: Tensor
    presence: Tensor
    frequency: Tensor

    def to(self, ids: Tensor, probs: Tensor) -> tuple[Tensor, Tensor]:
        """Listed tokens and their probabilities, [n, listed], as `kernels.Kernels.top` gives them: the same tokens in
        the order of their weights afterwards (equal ones by rising id), and these, float64 and of any sum."""
        count = self.counts.gather(1, ids)
        taken = (count > 0) * self.presence[:, None] + count * self.frequency[:, None]
        added = self.bias.gather(1, ids).double() - taken
        added = torch.where(probs > 0, added, -torch.inf)  # no bias makes possible what is not
        weights = probs.double() * (added - added.amax(1, keepdim=True)).exp()
        ids, place = ids.sort(1)
        weights, place = weights.gather(1, place).sort(dim=1, descending=True, stable=True)
        return ids.gather(1, place), weights

    def drawn(self, tokens: Tensor) -> None:
        """Count these, [n]."""
        self.counts.scatter_add_(1, tokens[:, None], torch.ones_like(tokens, dtype=torch.int32)[:, None])
