"""`Dist` and the samplers, against brute force over the definition."""

import math
import random
from array import array
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inferlet import ArgumentError, Dist, greedy, sampling, typical

DRAWS = 4000


def dist(*probs, rest=0.0):
    """Tokens 10, 11, ... with these probabilities."""
    return Dist(list(range(10, 10 + len(probs))), list(probs), rest)


def test_a_dist_of_the_server_has_lists_whatever_the_tier():
    record = SimpleNamespace(ids=array("I", [4, 2]), probs=array("f", [0.5, 0.25]), rest=0.25)
    made = Dist.of(record)
    assert (made.ids, made.probs, made.rest) == ([4, 2], [0.5, 0.25], 0.25)
    assert (type(made.ids), type(made.probs)) == (list, list)


def expected(probs, temperature=1.0, top_k=None, top_p=1.0, min_p=0.0):
    """The definition, term by term: the top k of it, what min_p leaves of that, the nucleus of the rest."""
    kept = dict(enumerate(probs))
    if top_k is not None:
        kept = {i: p for i, p in kept.items() if sum(q > p for q in probs) < top_k}
    kept = {i: p for i, p in kept.items() if p >= min_p * max(probs)}
    if top_p < 1.0:
        total, nucleus, mass = sum(kept.values()), {}, 0.0
        for i, p in sorted(kept.items(), key=lambda item: -item[1]):
            if mass >= top_p * total - 1e-12:
                break
            nucleus[i] = p
            mass += p
        kept = nucleus
    tempered = {i: p ** (1 / temperature) for i, p in kept.items()}
    total = sum(tempered.values())
    return {10 + i: p / total for i, p in tempered.items()}


def assert_frequencies(draw, wanted):
    counts = Counter(draw() for _ in range(DRAWS))
    assert set(counts) <= set(wanted)
    for token, p in wanted.items():
        spread = 5 * math.sqrt(DRAWS * p * (1 - p)) + 1  # five standard deviations
        assert abs(counts[token] - DRAWS * p) <= spread, (token, counts[token] / DRAWS, p)


SKEWED = (0.4, 0.25, 0.15, 0.1, 0.06, 0.04)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 3.0},
        {"top_k": 1},
        {"top_k": 3},
        {"top_k": 100},
        {"top_p": 0.5},
        {"top_p": 0.65},
        {"top_p": 0.01},
        {"min_p": 0.2},
        {"min_p": 1.0},
        {"top_k": 4, "top_p": 0.7},
        {"top_k": 5, "min_p": 0.3, "top_p": 0.9, "temperature": 0.7},
    ],
    ids=str,
)
def test_tokens_are_drawn_as_often_as_the_definition_says(how):
    source = random.Random(1)
    assert_frequencies(lambda: dist(*SKEWED).sample(seed=source, **how), expected(SKEWED, **how))


def test_an_uncut_tail_does_not_matter():
    """A distribution of the top k only is drawn from in proportion."""
    source = random.Random(2)
    shown = dist(0.3, 0.2, rest=0.5)
    assert_frequencies(lambda: shown.sample(seed=source), {10: 0.6, 11: 0.4})


@given(
    st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=30),
    st.floats(0.05, 20),
    st.none() | st.integers(1, 40),
    st.floats(0.001, 1.0),
    st.floats(0.0, 1.0),
    st.integers(),
)
def test_no_setting_ever_draws_what_it_excludes(weights, temperature, top_k, top_p, min_p, seed):
    probs = sorted((w / sum(weights) for w in weights), reverse=True)
    token = dist(*probs).sample(temperature, top_k, top_p, min_p, seed)
    place = token - 10
    assert 0 <= place < len(probs)
    assert top_k is None or place < top_k
    assert place == 0 or probs[place] >= min_p * probs[0]
    assert place == 0 or sum(probs[:place]) <= top_p * sum(probs) + 1e-9


def test_temperature_zero_is_greedy_whatever_else_is_said():
    assert {dist(*SKEWED).sample(0, seed=s) for s in range(20)} == {10}


@pytest.mark.parametrize("temperature", [1e-300, 1e-3, 0.01])
def test_a_tiny_temperature_is_as_good_as_greedy_and_does_not_overflow(temperature):
    assert {dist(*SKEWED).sample(temperature, seed=s) for s in range(50)} == {10}


def test_the_same_seed_gives_the_same_draw_and_a_source_goes_on():
    assert dist(*SKEWED).sample(seed=7) == dist(*SKEWED).sample(seed=7)
    one, two = random.Random(7), random.Random(7)
    draws = [dist(*SKEWED).sample(seed=one) for _ in range(50)]
    assert draws == [dist(*SKEWED).sample(seed=two) for _ in range(50)] and len(set(draws)) > 1


def test_zero_probabilities_are_never_drawn():
    source = random.Random(3)
    assert {dist(0.5, 0.5, 0.0, 0.0).sample(5.0, seed=source) for _ in range(500)} == {10, 11}


@pytest.mark.parametrize(
    "how",
    [{"temperature": -1}, {"temperature": math.nan}, {"temperature": math.inf}, {"top_p": 0}, {"top_p": 1.1},
     {"top_p": math.nan}, {"min_p": -0.1}, {"min_p": 2}, {"top_k": 0}, {"top_k": -1}],
    ids=str,
)  # fmt: skip
def test_a_setting_out_of_range_is_an_error(how):
    with pytest.raises(ArgumentError, match=r"temperature >= 0, 0 < top_p <= 1, 0 <= min_p <= 1 and top_k >= 1"):
        dist(*SKEWED).sample(**how)


@pytest.mark.parametrize("empty", [dist(), dist(0.0, 0.0)])
def test_a_distribution_with_nothing_left_is_an_error_that_suspects_a_constraint(empty):
    with pytest.raises(ArgumentError, match=r"no token is left to draw; a constraint"):
        empty.sample()


def test_looking_things_up():
    shown = dist(0.5, 0.3, rest=0.2)
    assert (shown.max_index(), shown.prob(11), shown.prob(99), len(shown)) == (10, 0.3, 0.0, 2)
    assert shown.entropy() == pytest.approx(-(0.5 * math.log(0.5) + 0.3 * math.log(0.3) + 0.2 * math.log(0.2)))
    assert dist(1.0).entropy() == 0.0


# samplers


def test_greedy_takes_the_most_probable():
    assert greedy()(dist(*SKEWED)) == 10


def test_a_seeded_sampler_gives_the_same_text_each_time_and_not_one_token_for_ever():
    one, two = sampling(1.5, top_k=4, seed=5), sampling(1.5, top_k=4, seed=5)
    draws = [one(dist(*SKEWED)) for _ in range(100)]
    assert draws == [two(dist(*SKEWED)) for _ in range(100)] and set(draws) == {10, 11, 12, 13}


def brute_typical(probs, mass):
    """Meister et al. 2023, eq. 8: the fewest tokens nearest in surprise to the entropy that reach the mass."""
    entropy = -sum(p * math.log(p) for p in probs)
    order = sorted(range(len(probs)), key=lambda i: abs(-math.log(probs[i]) - entropy))
    kept, total = [], 0.0
    for i in order:
        if total >= mass:
            break
        kept.append(i)
        total += probs[i]
    return {10 + i: probs[i] / total for i in kept}


@pytest.mark.parametrize("mass", [0.1, 0.3, 0.5, 0.9, 1.0])
def test_typical_sampling_keeps_the_tokens_nearest_to_the_entropy(mass):
    sampler = typical(mass, seed=4)
    assert_frequencies(lambda: sampler(dist(*SKEWED)), brute_typical(SKEWED, mass))


def test_typical_sampling_may_leave_the_most_probable_token_out():
    probs = (0.3, *[0.07] * 10)
    wanted = brute_typical(probs, 0.4)
    assert 10 not in wanted
    sampler = typical(0.4, seed=4)
    assert_frequencies(lambda: sampler(dist(*probs)), wanted)
