"""Drafters: cheap guesses at the tokens that come next, for a forward pass to judge all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from inferlet.errors import ArgumentError

Drafter = Callable[[Sequence[int]], Sequence[int]]
"""Gets all tokens so far; returns some that may follow, or none."""


def prompt_lookup(length: int, longest: int = 3, shortest: int = 1) -> Drafter:
    """Up to `length` tokens that followed the last ones when they stood in the text before (Saxena 2023).

    The place is where most of the last tokens agree, `shortest` of them at least and `longest` at most; the first of
    several such places.
    """
    if length < 0 or not 1 <= shortest <= longest:
        given = f"length={length}, longest={longest}, shortest={shortest}"
        raise ArgumentError(f"prompt_lookup: length >= 0 and 1 <= shortest <= longest are wanted, got {given}")

    def draft(tokens: Sequence[int]) -> Sequence[int]:
        place = _best_place(tokens, longest, shortest) if tokens and length else len(tokens)
        return tokens[place : place + length]

    return draft


def _best_place(tokens: Sequence[int], longest: int, shortest: int) -> int:
    """Where what followed the last tokens before begins; the end, if they are new."""
    last, best, place = len(tokens) - 1, shortest - 1, len(tokens)
    at = tokens.index(tokens[last])
    while at < last:
        agreeing = 1
        while agreeing < longest and agreeing <= at and tokens[at - agreeing] == tokens[last - agreeing]:
            agreeing += 1
        if agreeing > best:
            best, place = agreeing, at + 1
            if best == longest:
                break
        at = tokens.index(tokens[last], at + 1)
    return place
