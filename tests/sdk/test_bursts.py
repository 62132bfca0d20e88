"""How many tokens one call draws."""

import math

from hypothesis import given
from hypothesis import strategies as st
from inferlet.bursts import Burst


@given(st.integers(1, 64), st.floats(1e-6, 10.0), st.floats(1e-3, 1.0))
def test_who_shows_tokens_as_they_come_gets_no_more_at_once_than_come_within_the_time(count, took_s, within_s):
    size = Burst(1, 32, within_s=within_s).after(count, took_s)
    assert 1 <= size <= min(2 * count, 32)
    assert size == 1 or size * took_s / count <= within_s * (1 + 1e-9)
    if size < min(2 * count, 32):  # one more would not have come
        assert (size + 1) * took_s / count > within_s * (1 - 1e-9)


@given(st.integers(1, 64), st.sampled_from([0.0, 1e-6, 1.0, 1e6]))
def test_who_waits_for_all_of_them_gets_twice_as_many_each_time(count, took_s):
    assert Burst(32, 256).within_s == math.inf
    assert Burst(32, 256).after(count, took_s) == 2 * count
