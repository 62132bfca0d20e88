"""Stop conditions: when an answer is complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Stop = Callable[[Sequence[int], str], bool]
"""Gets the tokens and the text generated so far; True ends the answer."""


def max_tokens(count: int) -> Stop:
    """After so many tokens."""
    return lambda tokens, text: len(tokens) >= count


def any_of(*conditions: Stop) -> Stop:
    """When one of them says so."""
    return lambda tokens, text: any(condition(tokens, text) for condition in conditions)


def ends_with(*endings: str) -> Stop:
    """When the text contains one of the strings (`cut` removes it and what follows)."""
    return lambda tokens, text: any(ending in text for ending in endings)


def cut(text: str, endings: Sequence[str]) -> str:
    """The text before the first of the endings."""
    places = [place for ending in endings if (place := text.find(ending)) >= 0]
    return text[: min(places)] if places else text
