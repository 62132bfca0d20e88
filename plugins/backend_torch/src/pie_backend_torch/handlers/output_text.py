"""Trait `output_text`: hidden states become next-token distributions."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from pie_traits_text.output_text import Dist, GetNextDist
from torch import Tensor

from pie_backend_torch.backend import TorchBackend
from pie_backend_torch.top import top_tokens
from pie_backend_torch.upload import indices

Words = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]


class OutputTextHandler:
    """One pass over the head for the whole batch, one exact top-k for each `top_k` that occurs in it."""

    def __init__(self, backend: TorchBackend) -> None:
        self._backend = backend

    @torch.inference_mode()
    def get_next_dist(self, batch: Sequence[GetNextDist]) -> list[Dist]:
        decoder = self._backend.decoder
        rows = indices([command.emb[0].index for command in batch], decoder.device)
        logits = decoder.logits(self._backend.embeds.index_select(0, rows))
        vocab = logits.shape[1]
        wanted: dict[int, list[int]] = {}
        for place, command in enumerate(batch):
            wanted.setdefault(min(command.top_k or vocab, vocab), []).append(place)
        found: dict[int, Dist] = {}
        for count, places in wanted.items():
            part = logits if len(places) == len(batch) else logits[indices(places, logits.device)]
            found |= zip(places, _distributions(part, count), strict=True)
        return [found[place] for place in range(len(batch))]


def _distributions(logits: Tensor, count: int) -> list[Dist]:
    """One Dist of `count` tokens for each row of logits [n, vocab]."""
    ids, chosen = top_tokens(logits, count)
    # softmax works row by row; a logsumexp over the matrix would round by where a row lies in it
    probs = torch.softmax(logits, -1).gather(1, ids)
    del chosen
    id_rows, prob_rows = _on_host(ids.to(torch.int32), probs)
    rests = np.maximum(0.0, 1.0 - prob_rows.sum(1, dtype=np.float64)) if count < logits.shape[1] else np.zeros(len(ids))
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
