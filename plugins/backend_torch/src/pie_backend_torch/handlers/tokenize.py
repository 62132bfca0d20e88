"""Trait `tokenize`: the model's own tokenizer. Answered on the host; touches no device."""

from __future__ import annotations

from pie_traits_text.tokenize import Detokenize, GetVocabs, Tokenize

from pie_backend_torch.backend import TorchBackend
from pie_core.errors import ArgumentError


class TokenizeHandler:
    """Text to ids and back. The vocabulary's bytes are worked out once, when first asked for."""

    def __init__(self, backend: TorchBackend) -> None:
        self._tokenizer = backend.tokenizer
        self._vocab_size = backend.info.vocab_size
        self._vocabulary: list[bytes] | None = None

    def tokenize(self, query: Tokenize) -> list[int]:
        return self._tokenizer.encode(query.text)

    def detokenize(self, query: Detokenize) -> str:
        if query.ids and max(query.ids) >= self._vocab_size:
            raise ArgumentError(f"detokenize: token {max(query.ids)} is outside the vocabulary of {self._vocab_size}")
        return self._tokenizer.decode(query.ids)

    def get_vocabs(self, query: GetVocabs) -> list[bytes]:
        if self._vocabulary is None:
            self._vocabulary = self._tokenizer.vocabulary(self._vocab_size)
        return self._vocabulary
