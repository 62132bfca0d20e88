"""Muon for the matrices and AdamW for all else, with rates in tensors, so that a captured step follows the schedule.

Muon (Jordan et al. 2024) makes each update of a matrix orthogonal by Newton-Schulz iterations. Matrices of one shape
are stacked and go through them together: a few products for a whole group, instead of some for each of a hundred.
"""

from collections import defaultdict

import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

VISION_MATRICES, TEXT_MATRICES = 0.02, 0.01
VISION_OTHERS, TEXT_OTHERS = 2e-3, 1e-3
MOMENTUM, WEIGHT_DECAY = 0.95, 0.01
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(updates: Tensor) -> Tensor:
    """About the nearest orthogonal matrix of each: [matrices, rows, columns], in bfloat16."""
    wide = updates.shape[-2] <= updates.shape[-1]
    found = updates.bfloat16() if wide else updates.bfloat16().mT
    found = found / (found.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(5):
        square = found @ found.mT
        found = a * found + (b * square + c * (square @ square)) @ found
    return found if wide else found.mT


class Muon:
    """Of matrices of one shape. `rate` is a tensor without dimensions, on their device."""

    def __init__(self, matrices: list[nn.Parameter], rate: Tensor) -> None:
        self._matrices, self._rate = matrices, rate
        self._momentum = torch.zeros((len(matrices), *matrices[0].shape), device=matrices[0].device)
        rows, columns = matrices[0].shape
        self._scale = max(1.0, rows / columns) ** 0.5

    @torch.no_grad()
    def step(self) -> None:
        gradients = torch.stack([matrix.grad for matrix in self._matrices if matrix.grad is not None])
        self._momentum.lerp_(gradients, 1 - MOMENTUM)
        update = orthogonal(gradients.lerp(self._momentum, MOMENTUM)).float() * (self._rate * self._scale)
        kept = 1 - self._rate * WEIGHT_DECAY
        for matrix, change in zip(self._matrices, update, strict=True):
            matrix.mul_(kept).sub_(change)


class Optimizers:
    def __init__(self, model: LlavaForConditionalGeneration) -> None:
        device = model.device
        self._rates = {base: torch.zeros((), device=device) for base in (VISION_MATRICES, TEXT_MATRICES)}
        self._rates |= {base: torch.zeros((), device=device) for base in (VISION_OTHERS, TEXT_OTHERS)}
        matrices: dict[tuple[float, torch.Size], list[nn.Parameter]] = defaultdict(list)
        others: dict[float, list[nn.Parameter]] = defaultdict(list)
        for name, weight in model.named_parameters():
            seen = "language_model" not in name
            if weight.ndim == 2 and "embed" not in name:
                matrices[VISION_MATRICES if seen else TEXT_MATRICES, weight.shape].append(weight)
            elif "post_layernorm" not in name:  # LLaVA takes what comes before it
                others[VISION_OTHERS if seen else TEXT_OTHERS].append(weight)
        self._muons = [Muon(group, self._rates[base]) for (base, _), group in matrices.items()]
        groups = [{"params": group, "lr": self._rates[base]} for base, group in others.items()]
        cuda = device.type == "cuda"
        self._adam = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0, fused=True, capturable=cuda)

    def set_rates(self, vision_scale: float, text_scale: float) -> None:
        for base, rate in self._rates.items():
            rate.fill_(base * (vision_scale if base in (VISION_MATRICES, VISION_OTHERS) else text_scale))

    def step(self) -> None:
        for muon in self._muons:
            muon.step()
        self._adam.step()
