"""Trait `output_text`: hidden states become next-token distributions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pie_traits_text.output_text import Dist, GetNextDist
from torch import Tensor

from pie_backend_torch.backend import TorchBackend
from pie_backend_torch.distributions import distributions
from pie_backend_torch.upload import indices


class OutputTextHandler:
    """One pass over the head for the whole batch."""

    def __init__(self, backend: TorchBackend) -> None:
        self._backend = backend

    @torch.inference_mode()
    def get_next_dist(self, batch: Sequence[GetNextDist]) -> list[Dist]:
        logits = self._logits(batch)
        top_k = [command.top_k for command in batch]
        return distributions(self._backend.decoder.kernels, logits, top_k, [logits.shape[1]] * len(batch))

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
        top_k = [command.top_k for command in batch]
        return distributions(self._backend.decoder.kernels, logits, top_k, bits.sum(1).tolist())

    def _logits(self, batch: Sequence[GetNextDist]) -> Tensor:
        """[commands, vocabulary] at the Embeds of a batch."""
        decoder = self._backend.decoder
        rows = indices([command.emb[0].index for command in batch], decoder.device)
        return decoder.logits(self._backend.embeds.index_select(0, rows))
