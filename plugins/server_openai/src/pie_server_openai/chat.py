"""`/v1/chat/completions`: its form of an answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import UNSET, UnsetType

from pie_server_openai import responses as o
from pie_server_openai.messages import Call, Finish, Text
from pie_server_openai.shape import REASONS, Choice, Collected, new_id, now


class ChatShape:
    """See `Shape`. counted: whether chunks have a `usage`."""

    def __init__(self, model: str, logprobs: bool, counted: bool) -> None:
        self._facts: dict[str, Any] = {"id": new_id("chatcmpl"), "created": now(), "model": model}
        self._logprobs = logprobs
        self._usage: UnsetType | None = None if counted else UNSET
        self._calls: dict[int, int] = {}  # told, by choice

    def beginning(self, choices: int) -> Iterable[o.ChatChunk]:
        """See `Shape`."""
        return [self._chunk(o.ChatChunkChoice(index, o.Delta("assistant", ""))) for index in range(choices)]

    def chunk(self, message: Text | Call | Finish) -> o.ChatChunk:
        """See `Shape`."""
        match message:
            case Text(index=index, text=text):
                choice = o.ChatChunkChoice(index, o.Delta(content=text), logprobs=self._judged([message]))
            case Call(index=index):
                number = self._calls[index] = self._calls.get(index, -1) + 1
                choice = o.ChatChunkChoice(index, o.Delta(tool_calls=[_call(message, number)]))
            case Finish(index=index, reason=reason):
                choice = o.ChatChunkChoice(index, o.Delta(), REASONS[reason])
        return self._chunk(choice)

    def last(self, usage: o.Usage) -> o.ChatChunk:
        """See `Shape`."""
        return o.ChatChunk(**self._facts, choices=[], usage=usage)

    def whole(self, collected: Collected) -> o.ChatCompletion:
        """See `Shape`."""
        choices = [self._choice(index, choice) for index, choice in enumerate(collected.choices)]
        return o.ChatCompletion(**self._facts, choices=choices, usage=collected.usage)

    def _choice(self, index: int, choice: Choice) -> o.ChatChoice:
        assert choice.finish is not None
        calls = [_call(call, UNSET) for call in choice.calls] or UNSET
        content = choice.text or (None if choice.calls else "")
        message = o.AnswerMessage(content, tool_calls=calls)
        return o.ChatChoice(index, message, REASONS[choice.finish.reason], self._judged(choice.pieces))

    def _chunk(self, choice: o.ChatChunkChoice) -> o.ChatChunk:
        return o.ChatChunk(**self._facts, choices=[choice], usage=self._usage)

    def _judged(self, pieces: Sequence[Text]) -> o.ChatLogprobs | None:
        if not self._logprobs:
            return None
        return o.ChatLogprobs(
            [
                o.TokenLogprob(_shown(data), logprob, data, [o.TopLogprob(_shown(d), p, d) for d, p in top])
                for piece in pieces
                for data, logprob, top in piece.logprobs
            ]
        )


def _call(call: Call, index: int | UnsetType) -> o.ToolCall:
    return o.ToolCall(index=index, id=new_id("call"), function=o.CalledFunction(call.name, call.arguments))


def _shown(data: list[int]) -> str:
    return bytes(data).decode("utf-8", "replace")
