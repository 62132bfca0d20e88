"""Drafters: cheap guesses at the tokens that come next, for a forward pass to judge all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from inferlet.errors import ArgumentError

Drafter = Callable[[Sequence[int]], Sequence[int]]
"""Gets all tokens so far; returns some that may follow, or none."""


def prompt_lookup(length: int, longest: int = 3) -> Drafter:
    """Up to `length` tokens that followed the last ones when they stood in the text before (Saxena 2023).

    The place is where most of the last tokens agree, up to `longest` of them; the first of several such places.
    """
    if length < 0 or longest < 1:
        raise ArgumentError(f"prompt_lookup: length >= 0 and longest >= 1 are wanted, got {length} and {longest}")

    def draft(tokens: Sequence[int]) -> Sequence[int]:
        place = _best_place(tokens, longest) if tokens and length else len(tokens)
        return tokens[place : place + length]

    return draft


def _best_place(tokens: Sequence[int], longest: int) -> int:
    """Where what followed the last tokens before begins; the end, if they are new."""
    last, best, place = len(tokens) - 1, 0, len(tokens)
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
