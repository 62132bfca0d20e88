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
from pie_backend_torch.kernels import Kernels
from pie_backend_torch.upload import indices

Words = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]


class OutputTextHandler:
    """One pass over the head for the whole batch, one exact top-k for each `top_k` that occurs in it."""

    def __init__(self, backend: TorchBackend) -> None:
        self._backend = backend

    @torch.inference_mode()
    def get_next_dist(self, batch: Sequence[GetNextDist]) -> list[Dist]:
        logits = self._logits(batch)
        vocab = logits.shape[1]
        return _distributions(self._backend.decoder.kernels, logits, batch, [vocab] * len(batch))

    @torch.inference_mode()
    def get_best(self, batch: Sequence[GetNextDist]) -> list[int]:
        """See `TellsBest`."""
        best: list[int] = self._backend.decoder.kernels.best(self._logits(batch)).tolist()
        return best

    @torch.inference_mode()
    def get_restricted_dists(self, batch: Sequence[GetNextDist], allowed: Sequence[bytes]) -> list[Dist]:
        """See `RestrictsDists`."""
        logits = self._logits(batch)
        vocab = logits.shape[1]
        packed = np.frombuffer(b"".join(allowed), dtype=np.uint8).reshape(len(batch), -1)
        bits = np.unpackbits(packed, axis=1, count=vocab, bitorder="little")
        logits.masked_fill_(torch.from_numpy(bits).to(logits.device) == 0, -torch.inf)
        return _distributions(self._backend.decoder.kernels, logits, batch, bits.sum(1).tolist())

    def _logits(self, batch: Sequence[GetNextDist]) -> Tensor:
        """[commands, vocabulary] at the Embeds of a batch."""
        decoder = self._backend.decoder
        rows = indices([command.emb[0].index for command in batch], decoder.device)
        return decoder.logits(self._backend.embeds.index_select(0, rows))


def _distributions(
    kernels: Kernels, logits: Tensor, batch: Sequence[GetNextDist], possible: Sequence[int]
) -> list[Dist]:
    """One Dist for each row of logits [n, vocab], of which `possible` tokens are finite."""
    wanted: dict[tuple[int, bool], list[int]] = {}
    for place, (command, most) in enumerate(zip(batch, possible, strict=True)):
        count = min(command.top_k or most, most)
        wanted.setdefault((count, count == most), []).append(place)
    found: dict[int, Dist] = {}
    for (count, whole), places in wanted.items():
        part = logits if len(places) == len(batch) else logits[indices(places, logits.device)]
        found |= zip(places, _equally_long(*kernels.top(part, count), whole), strict=True)
    return [found[place] for place in range(len(batch))]


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
