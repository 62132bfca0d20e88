"""Incremental detokenization: text that never shows half a character; and its lines, each when it is whole."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence


class TextDecoder:
    """Turns tokens into text as they come.

    Only a short tail is detokenized again for each token (the method of Hugging Face TGI), and a tail that ends in the
    middle of a UTF-8 sequence is held back until it is whole.
    """

    def __init__(self, detokenize: Callable[[Sequence[int]], str]) -> None:
        self._detokenize = detokenize
        self._tokens: list[int] = []
        self._start = 0  # tokens before this one are done with
        self._shown = 0  # tokens before this one were turned into text

    def add(self, token: int) -> str:
        """The text that this token completes; may be empty."""
        self._tokens.append(token)
        before = self._detokenize(self._tokens[self._start : self._shown]) if self._shown > self._start else ""
        after = self._detokenize(self._tokens[self._start :])
        if after.endswith("\N{REPLACEMENT CHARACTER}") or len(after) <= len(before):
            return ""
        self._start, self._shown = self._shown, len(self._tokens)
        return after[len(before) :]

    def flush(self) -> str:
        """What was held back, however incomplete."""
        if self._shown == len(self._tokens):
            return ""
        before = self._detokenize(self._tokens[self._start : self._shown]) if self._shown > self._start else ""
        text = self._detokenize(self._tokens[self._start :])[len(before) :]
        self._start = self._shown = len(self._tokens)
        return text


async def lines(pieces: AsyncIterable[str]) -> AsyncIterator[str]:
    """The lines of a text that comes in pieces, each without its end as soon as it is whole; the last at the end."""
    rest = ""
    async for piece in pieces:
        *whole, rest = (rest + piece).split("\n")
        for line in whole:
            yield line
    if rest:
        yield rest
