"""The seam between what is said and OpenAI's two forms of saying it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from pie_server_openai.messages import Call, Finish, Prompt, Said, Text
from pie_server_openai.responses import FinishReason, PromptDetails, Usage

REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length", "calls": "tool_calls"}


@dataclass
class Choice:
    """All that was said of one choice."""

    pieces: list[Text] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    finish: Finish | None = None

    @property
    def text(self) -> str:
        """All of its text."""
        return "".join(piece.text for piece in self.pieces)


class Collected:
    """The books of one answer. After `take` of everything `choices` is complete."""

    def __init__(self, choices: int) -> None:
        self.choices = [Choice() for _ in range(choices)]
        self._prompt = Prompt(0, 0)

    def take(self, message: Said) -> None:
        """One more message."""
        match message:
            case Prompt():
                self._prompt = message
            case Text(index=index):
                self.choices[index].pieces.append(message)
            case Call(index=index):
                self.choices[index].calls.append(message)
            case Finish(index=index):
                self.choices[index].finish = message

    @property
    def usage(self) -> Usage:
        """In tokens."""
        generated = sum(choice.finish.tokens for choice in self.choices if choice.finish is not None)
        read = self._prompt.tokens
        return Usage(read, generated, read + generated, PromptDetails(self._prompt.cached))


class Shape(Protocol):
    """One answer in one form."""

    def beginning(self, choices: int) -> Iterable[msgspec.Struct]:
        """The first chunks."""
        ...

    def chunk(self, message: Text | Call | Finish) -> msgspec.Struct:
        """A chunk for what is new."""
        ...

    def last(self, usage: Usage) -> msgspec.Struct:
        """The chunk with the usage."""
        ...

    def whole(self, collected: Collected) -> msgspec.Struct:
        """The answer in one piece."""
        ...


def new_id(kind: str) -> str:
    """An id in OpenAI's style."""
    return f"{kind}-{secrets.token_hex(12)}"


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())
