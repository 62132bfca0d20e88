"""Images in a conversation: which texts stand around them, as the model's own chat template places them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from inferlet.chat import Message, render_chat
from inferlet.errors import PieError

_PRIVATE = range(0xE000, 0xF900)  # characters that no text has a use for


class _Rendered(NamedTuple):
    """What stands around the images, and how many of the texts of the conversation are not in it."""

    pieces: list[str]
    lost: int


def render_around_images(
    template: str,
    messages: Sequence[Message],
    placeholder: str,
    tools: Sequence[dict[str, Any]] | None = None,
) -> list[str]:
    """The texts before, between and behind the images of a conversation, whose last turn the assistant is to answer.

    Images are parts `{"type": "image"}` of a content, texts are `{"type": "text", "text": ...}`. placeholder: what
    stands for an image, as `image_placeholder` tells; where a text has it, it stays text. A template that has no use
    for parts gets texts, with the images where their parts are; one that takes nothing else gets every text as a part.

    Raises `PieError` for a template that takes none of it.
    """
    everything = json.dumps([messages, tools], ensure_ascii=False)
    mark = next(chr(code) for code in _PRIVATE if chr(code) not in everything)
    hidden, marked = _replaced(messages, placeholder, mark), [_in_text(message, mark) for message in messages]
    tries = [(hidden, placeholder), (_in_parts(hidden), placeholder), (marked, mark), (_in_parts(marked), mark)]
    best, failures = None, []
    for conversation, stands in tries:
        try:
            found = _render(template, conversation, stands, _replaced(tools, placeholder, mark))
        except PieError as error:
            failures.append(error)
            continue
        if best is None or found.lost < best.lost:
            best = found
    if best is None:
        raise failures[0]
    return [piece.replace(mark, placeholder) for piece in best.pieces]


def render_image_turn(template: str, text: str, images: int, placeholder: str) -> list[str]:
    """What stands before, between and behind the images of a user turn, which has them in front of its text."""
    content = [{"type": "image"}] * images + [{"type": "text", "text": text}]
    return render_around_images(template, [{"role": "user", "content": content}], placeholder)


def _render(template: str, messages: Sequence[Message], stands: str, tools: Any) -> _Rendered:
    """Raises `PieError` if images or a user's texts are lost."""
    rendered = render_chat(template, messages, tools=tools)
    pieces = rendered.split(stands)
    texts = [(message["role"], text.strip()) for message in messages for text in _texts(message, stands)]
    lost = [role for role, text in texts if text not in rendered]
    if len(pieces) - 1 != _count(messages, stands) or "user" in lost:
        raise PieError("the model's chat template loses what it is given; use `fill` and `fill_image`")
    return _Rendered(pieces, len(lost))


def _count(messages: Sequence[Message], stands: str) -> int:
    """Images, be they parts or marks."""
    parts = [part for message in messages for part in _parts(message)]
    return sum(part["type"] == "image" or part["text"].count(stands) for part in parts)


def _parts(message: Message) -> Sequence[dict[str, Any]]:
    content = message.get("content") or ""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _texts(message: Message, stands: str) -> list[str]:
    """What is to be found again, between the marks."""
    return [text for part in _parts(message) if part["type"] == "text" for text in part["text"].split(stands)]


def _in_text(message: Message, mark: str) -> Message:
    pieces = (mark if part["type"] == "image" else part["text"] for part in _parts(message))
    return message | {"content": "".join(pieces)}


def _in_parts(messages: Sequence[Message]) -> list[Message]:
    """With a list wherever a text is, but for what tools say: templates with tools take that as it is."""
    return [
        message | {"content": _parts(message)} if message["role"] != "tool" and message.get("content") else message
        for message in messages
    ]


def _replaced(value: Any, text: str, other: str) -> Any:
    """With another text for one, in everything that JSON can hold but the keys of objects."""
    match value:
        case str():
            return value.replace(text, other)
        case dict():
            return {key: _replaced(one, text, other) for key, one in value.items()}
        case list() | tuple():
            return [_replaced(one, text, other) for one in value]
    return value
