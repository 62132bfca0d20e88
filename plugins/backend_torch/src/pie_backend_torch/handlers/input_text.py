"""Trait `input_text`: token ids become Embeds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pie_traits_text.input_text import EmbedTxt

from pie_backend_torch.backend import TorchBackend


class InputTextHandler:
    """Looks up the model's embedding table, one gather and one scatter a batch."""

    def __init__(self, backend: TorchBackend) -> None:
        self._backend = backend

    @torch.inference_mode()
    def embed_txt(self, batch: Sequence[EmbedTxt]) -> None:
        decoder = self._backend.decoder
        ids = [token for command in batch for token in command.tok]
        rows = [embed.index for command in batch for embed in command.emb]
        if ids:
            indices = torch.tensor([ids, rows], dtype=torch.int64).to(decoder.device)
            self._backend.embeds.index_copy_(0, indices[1], decoder.embed(indices[0]))
