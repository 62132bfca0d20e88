"""From scores to what programs see of them: the most probable tokens on the host."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from pie_traits_text.output_text import Dist
from torch import Tensor

from pie_backend_torch.kernels import Kernels
from pie_backend_torch.upload import indices

Words = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]


def distributions(kernels: Kernels, logits: Tensor, top_k: Sequence[int | None], possible: Sequence[int]) -> list[Dist]:
    """One Dist for each row of logits [n, vocab], of which `possible` [n] tokens are finite.

    top_k: [n] how many tokens are wanted of each; None is all. One exact top-k for each number that occurs.
    """
    wanted: dict[tuple[int, bool], list[int]] = {}
    for place, (some, most) in enumerate(zip(top_k, possible, strict=True)):
        count = min(some or most, most)
        wanted.setdefault((count, count == most), []).append(place)
    found: dict[int, Dist] = {}
    for (count, whole), places in wanted.items():
        part = logits if len(places) == len(top_k) else logits[indices(places, logits.device)]
        found |= zip(places, _equally_long(*kernels.top(part, count), whole), strict=True)
    return [found[place] for place in range(len(top_k))]


def _equally_long(ids: Tensor, probs: Tensor, whole: bool) -> list[Dist]:
    """One Dist for each row of ids and probs [n, count]. whole: that is the vocabulary, nothing is left out."""
    id_rows, prob_rows = _on_host(ids.to(torch.int32), probs)
    rests = np.zeros(len(ids)) if whole else np.maximum(0.0, 1.0 - prob_rows.sum(1, dtype=np.float64))
    return [
        Dist(array("I", one.tobytes()), array("f", two.tobytes()), rest)
        for one, two, rest in zip(id_rows, prob_rows, rests.tolist(), strict=True)
    ]


def _on_host(ids: Tensor, probs: Tensor) -> tuple[Words, Floats]:
    """int32 ids and float32 probabilities, by one copy: each would wait for the device."""
    if ids.device.type == "cpu":
        return ids.numpy().view(np.uint32), probs.numpy()
    both = torch.stack([ids, probs.view(torch.int32)]).cpu().numpy()
    return both[0].view(np.uint32), both[1].view(np.float32)
