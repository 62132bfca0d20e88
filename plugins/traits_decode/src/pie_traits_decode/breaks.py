"""Tokens behind which a text may be whole that somebody waits for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pie_traits_text.tokenize import GetVocabs


class Breaks:
    """By the last byte of a text: wherever the text ends, the token there has that byte. Device thread."""

    def __init__(self, tokenize: Any) -> None:
        self._tokenize = tokenize  # its handler
        self._with_byte: dict[int, frozenset[int]] = {}

    def of(self, texts: Sequence[str]) -> frozenset[int]:
        """The tokens that end one of the texts, and maybe some that do not."""
        return frozenset().union(*(self._having(text.encode()[-1]) for text in texts))

    def _having(self, byte: int) -> frozenset[int]:
        found = self._with_byte.get(byte)
        if found is None:
            vocabulary: Sequence[bytes] = self._tokenize.get_vocabs(GetVocabs())
            found = frozenset(token for token, text in enumerate(vocabulary) if byte in text)
            self._with_byte[byte] = found
        return found
