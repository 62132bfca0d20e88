"""Stop conditions: when an answer is complete."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inferlet.errors import ArgumentError

Stop = Callable[[Sequence[int], str], bool]
"""Gets the tokens and the text generated so far; True ends the answer."""


@dataclass(frozen=True)
class Foreseen:
    """A condition that the server can be told of: after `most` tokens, or when the text contains one of `endings`."""

    most: int | None = None
    endings: tuple[str, ...] = ()

    def __call__(self, tokens: Sequence[int], text: str) -> bool:
        return (self.most is not None and len(tokens) >= self.most) or any(ending in text for ending in self.endings)


def max_tokens(count: int) -> Stop:
    """After so many tokens; 0 or more."""
    try:
        most = operator.index(count)
    except TypeError:
        raise ArgumentError(f"max_tokens: a whole number is wanted, got {count!r} ({type(count).__name__})") from None
    if most < 0:
        raise ArgumentError(f"max_tokens: 0 or more are wanted, got {most}")
    return Foreseen(most)


def ends_with(*endings: str) -> Stop:
    """When the text contains one of the strings (`cut` removes it and what follows)."""
    return Foreseen(endings=endings)


def any_of(*conditions: Stop) -> Stop:
    """When one of them says so."""
    foreseen = [condition for condition in conditions if isinstance(condition, Foreseen)]
    if len(foreseen) < len(conditions):
        return lambda tokens, text: any(condition(tokens, text) for condition in conditions)
    bounds = [condition.most for condition in foreseen if condition.most is not None]
    endings = tuple(ending for condition in foreseen for ending in condition.endings)
    return Foreseen(min(bounds, default=None), endings)


def cut(text: str, endings: Sequence[str]) -> str:
    """The text before the first of the endings."""
    places = [place for ending in endings if (place := text.find(ending)) >= 0]
    return text[: min(places)] if places else text
