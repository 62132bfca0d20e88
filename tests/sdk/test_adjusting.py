"""Biases and penalties, against the definition: p * exp(bias - presence * seen - frequency * times), scaled to 1."""

import math

import pytest
from inferlet import ArgumentError, Dist, adjust
from inferlet.adjusting import Adjustment

TOKENS = [10, 11, 12, 13]
PROBS = [0.5, 0.25, 0.125, 0.0625]


def by_definition(bias, presence, frequency, before):
    weights = {}
    for token, p in zip(TOKENS, PROBS, strict=True):
        times = before.count(token)
        weights[token] = p * math.exp(bias.get(token, 0.0)) / math.exp(presence * (times > 0) + frequency * times)
    return {token: weight / sum(weights.values()) for token, weight in weights.items()}


@pytest.mark.parametrize("bias", [{}, {13: 3.0}, {10: -2.0, 12: 0.5}])
@pytest.mark.parametrize(("presence", "frequency"), [(0.0, 0.0), (1.5, 0.0), (0.0, 0.75), (-0.5, 0.25)])
@pytest.mark.parametrize(("seen", "answer"), [([], []), ([10, 10, 12], [10, 13]), ([11], [])])
def test_it_is_the_definition(bias, presence, frequency, seen, answer):
    found = Adjustment(bias, presence, frequency, seen)(Dist(TOKENS, PROBS, 0.0625), answer)
    expected = by_definition(bias, presence, frequency, seen + answer)
    assert dict(zip(found.ids, found.probs, strict=True)) == pytest.approx(expected)
    assert list(found.probs) == sorted(found.probs, reverse=True)


def test_of_equals_the_lower_token_comes_first():
    found = adjust({11: math.log(2.0)})(Dist([12, 11, 10], [0.5, 0.25, 0.25]), [])
    assert found.ids == [11, 12, 10]


def test_what_is_impossible_stays_so():
    found = adjust({11: 100.0})(Dist([10, 11], [1.0, 0.0]), [])
    assert found.ids[0] == 10 and found.probs == [1.0, 0.0]


def test_biases_that_are_no_numbers_are_refused():
    with pytest.raises(ArgumentError, match="finite"):
        adjust({3: math.inf})
