"""Drafters, against a search of every place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inferlet import ArgumentError, prompt_lookup


def every_place(tokens, length, longest, shortest):
    """Whether the n tokens before a place are the last n of all: the most n first, then the first place."""
    for n in range(min(longest, len(tokens) - 1), shortest - 1, -1):
        for place in range(n, len(tokens)):
            if tokens[place - n : place] == tokens[-n:]:
                return tokens[place : place + length]
    return []


@given(
    st.lists(st.integers(0, 2) | st.integers(0, 9), max_size=40),
    st.integers(min_value=0, max_value=9),
    st.tuples(st.integers(1, 6), st.integers(1, 6)).map(sorted),
)
def test_a_draft_is_what_followed_the_longest_agreement(tokens, length, bounds):
    shortest, longest = bounds
    draft = prompt_lookup(length, longest, shortest)(tokens)
    assert list(draft) == every_place(tokens, length, longest, shortest)


@pytest.mark.parametrize(("length", "longest", "shortest"), [(-1, 3, 1), (4, 0, 0), (4, 3, 0), (4, 2, 3)])
def test_a_draft_has_no_negative_length_and_agrees_in_something(length, longest, shortest):
    with pytest.raises(ArgumentError, match="length >= 0 and 1 <= shortest <= longest"):
        prompt_lookup(length, longest, shortest)
