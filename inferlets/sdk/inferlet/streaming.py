"""Incremental detokenization: text that never shows half a character; and its lines, each when it is whole."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence

LONGEST = 16  # tokens that are detokenized again for the next one


class TextDecoder:
    """Turns tokens into text as they come.

    Only a short tail is detokenized again for each piece (the method of Hugging Face TGI), and a tail that ends in the
    middle of a UTF-8 sequence is held back until it is whole.
    """

    def __init__(self, detokenize: Callable[[Sequence[int]], str]) -> None:
        self._detokenize = detokenize
        self._tail: list[int] = []
        self._shown = 0  # of these, how many were turned into text
        self._text = ""  # that of those

    def add(self, *tokens: int) -> str:
        """The text that these tokens complete; may be empty."""
        tail = self._tail
        tail += tokens
        for whole in range(len(tail), len(tail) - len(tokens), -1):  # the last of them may end within a character
            text = self._detokenize(tail[:whole])
            if not text.endswith("\N{REPLACEMENT CHARACTER}"):
                break
        else:
            return ""
        if len(text) <= len(self._text):
            return ""
        piece = text[len(self._text) :]
        if whole > LONGEST:  # what the last piece came of is enough to tell how the next one begins, or its end
            gone = max(self._shown, whole - LONGEST)
            del tail[:gone]
            whole -= gone
            text = self._detokenize(tail[:whole])
        self._shown, self._text = whole, text
        return piece

    def flush(self) -> str:
        """What was held back, however incomplete."""
        if self._shown == len(self._tail):
            return ""
        piece = self._detokenize(self._tail)[len(self._text) :]
        self._tail, self._shown, self._text = [], 0, ""
        return piece


async def lines(pieces: AsyncIterable[str]) -> AsyncIterator[str]:
    """The lines of a text that comes in pieces, each without its end as soon as it is whole; the last at the end."""
    rest = ""
    async for piece in pieces:
        *whole, rest = (rest + piece).split("\n")
        for line in whole:
            yield line
    if rest:
        yield rest
