"""`/v1/completions`: its form of an answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import UNSET, UnsetType

from pie_server_openai import responses as o
from pie_server_openai.messages import Call, Finish, Text
from pie_server_openai.shape import REASONS, Choice, Collected, new_id, now


class CompletionShape:
    """See `Shape`. counted: whether chunks have a `usage`."""

    def __init__(self, model: str, logprobs: bool, counted: bool) -> None:
        self._facts: dict[str, Any] = {"id": new_id("cmpl"), "created": now(), "model": model}
        self._logprobs = logprobs
        self._usage: UnsetType | None = None if counted else UNSET
        self._offsets: dict[int, int] = {}  # characters told, by choice

    def beginning(self, choices: int) -> Iterable[o.Completion]:
        """See `Shape`."""
        return ()

    def chunk(self, message: Text | Call | Finish) -> o.Completion:
        """See `Shape`."""
        match message:
            case Text(index=index, text=text):
                offset = self._offsets.get(index, 0)
                self._offsets[index] = offset + len(text)
                choice = o.TextChoice(index, text, logprobs=self._judged([message], offset))
            case Finish(index=index, reason=reason):
                choice = o.TextChoice(index, "", REASONS[reason])
            case Call():
                raise AssertionError("a completion has no tools")
        return o.Completion(**self._facts, choices=[choice], usage=self._usage)

    def last(self, usage: o.Usage) -> o.Completion:
        """See `Shape`."""
        return o.Completion(**self._facts, choices=[], usage=usage)

    def whole(self, collected: Collected) -> o.Completion:
        """See `Shape`."""
        choices = [self._choice(index, choice) for index, choice in enumerate(collected.choices)]
        return o.Completion(**self._facts, choices=choices, usage=collected.usage)

    def _choice(self, index: int, choice: Choice) -> o.TextChoice:
        assert choice.finish is not None
        return o.TextChoice(index, choice.text, REASONS[choice.finish.reason], self._judged(choice.pieces, 0))

    def _judged(self, pieces: Sequence[Text], offset: int) -> o.TextLogprobs | None:
        if not self._logprobs:
            return None
        judged = o.TextLogprobs([], [], [], [])
        for piece in pieces:
            for data, logprob, top in piece.logprobs:
                token = _shown(data)
                judged.tokens.append(token)
                judged.token_logprobs.append(logprob)
                judged.top_logprobs.append({_shown(other): p for other, p in top} | {token: logprob})
                judged.text_offset.append(offset)
                offset += len(token)
        return judged


def _shown(data: list[int]) -> str:
    """A token of half a character is shown as OpenAI does it."""
    try:
        return bytes(data).decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
