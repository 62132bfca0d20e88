"""What the program in `inferlets/` says: `prompt`, then `text` and `call` of its choices, and a `finish` of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Literal

import msgspec

from pie_core.application.events import Ended, Message
from pie_core.server.routes import Run
from pie_server_openai.errors import of_end, of_refusal

Judged = tuple[list[int], float]
"""The bytes of a token, and the natural logarithm of its probability."""


class Prompt(msgspec.Struct, frozen=True, tag="prompt"):
    """How many tokens the prompts have, and how many of them did not have to be run."""

    tokens: int
    cached: int


class Text(msgspec.Struct, frozen=True, tag="text"):
    """More text of a choice, of so many more tokens, and what was asked about them."""

    index: int
    text: str
    tokens: int
    logprobs: list[tuple[list[int], float, list[Judged]]]


class Call(msgspec.Struct, frozen=True, tag="call"):
    """A choice calls a tool. Arguments are JSON."""

    index: int
    name: str
    arguments: str


class Finish(msgspec.Struct, frozen=True, tag="finish"):
    """A choice is complete, after so many tokens in all."""

    index: int
    reason: Literal["stop", "length", "calls"]
    tokens: int


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """There is no answer, or no more of it; `code` is the error's. picture: which one is the reason, if one is."""

    code: str
    text: str
    picture: int | None = None


Said = Prompt | Text | Call | Finish

_DECODER = msgspec.json.Decoder(Prompt | Text | Call | Finish | Refused)


async def said_by(run: Run, params: Sequence[str] = ()) -> AsyncIterator[Said]:
    """Everything, to the orderly end. Raises `RequestError`. params: the fields that its pictures came in."""
    async for event in run.events():
        match event:
            case Message(text=text):
                message = _DECODER.decode(text)
                if isinstance(message, Refused):
                    param = None if message.picture is None else params[message.picture]
                    raise of_refusal(message.code, message.text, param)
                yield message
            case Ended() as ended if ended.status != "finished":
                raise of_end(ended)
