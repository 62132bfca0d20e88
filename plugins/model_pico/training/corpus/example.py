"""One training or test item: a prompt and an answer whose parts the model says itself or is given.

Every skill module returns these and nothing else, so packing and evaluation need one code path. An item with a key
belongs to exactly one split, for ever: the split is a hash of the key, not a list that could go out of date.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeVar

Split = Literal["train", "held_out"]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Span:
    """A stretch of text; `trained` is False for what the user or a tool writes."""

    text: str
    trained: bool


@dataclass(frozen=True)
class Example:
    """`key` names what must be unseen in a test; None means the skill is memory, with nothing to hold out."""

    prompt: str
    answer: tuple[Span, ...]
    chat: bool = True
    system: str = ""
    key: str | None = None


Sampler = Callable[[Random, Split], Example]


def held_out(key: str) -> bool:
    return zlib.crc32(key.encode()) % 10 == 0


def said(text: str) -> tuple[Span, ...]:
    return (Span(text, trained=True),)


def weighted(rng: Random, choices: Sequence[tuple[float, Item]]) -> Item:
    return rng.choices([item for _, item in choices], [weight for weight, _ in choices])[0]


def spans(example: Example) -> list[Span]:
    """The whole document, `</s>` included; the chat markers are the ones of the tokenizer's chat template."""
    return conversation([example])


def conversation(turns: Sequence[Example]) -> list[Span]:
    """Several chat items as one document, under the first one's system prompt; a raw item stands alone."""
    first = turns[0]
    if not first.chat:
        return [Span(first.prompt, trained=False), *first.answer, Span("</s>", trained=True)]
    document = [Span(f"<|system|>{first.system}", trained=False)] if first.system else []
    for turn in turns:
        document.append(Span(f"<|user|>{turn.prompt}<|assistant|>", trained=False))
        document += [*turn.answer, Span("</s>", trained=True)]
    return document
