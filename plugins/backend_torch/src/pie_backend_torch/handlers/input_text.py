"""Trait `input_text`: token ids become Embeds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pie_traits_text.input_text import EmbedTxt

from pie_backend_torch.backend import TorchBackend
from pie_backend_torch.upload import indices


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
            positions = [position for command in batch for position in command.pos]
            both = indices([ids, rows, positions], decoder.device)
            self._backend.embeds.index_copy_(0, both[1], decoder.embed(both[0]))
            if self._backend.places is not None:
                self._backend.places.put_text(both[1], both[2])
