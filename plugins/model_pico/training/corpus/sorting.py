"""Sorting in parts: sort a list of digits, merge two sorted ones, and correct a draft (Besta et al. 2024 sort so).

Most lists to sort are short, for longer ones are made by merging; a few are long, so that sorting at once was learnt as
well and may be compared.
"""

from random import Random

from corpus.example import Example, Split, said

SHORT, LONG = 8, 32
Digits = list[int]


def sort(rng: Random, split: Split) -> Example:
    digits = _digits(rng, rng.randrange(1, SHORT + 1) if rng.random() < 0.75 else rng.randrange(SHORT + 1, LONG + 1))
    return _drafted(rng, f"Sort: {_spaced(digits)}\nSorted:", sorted(digits))


def merge(rng: Random, split: Split) -> Example:
    longest = SHORT if rng.random() < 0.6 else LONG // 2
    one, other = (sorted(_digits(rng, rng.randrange(1, longest + 1))) for _ in range(2))
    return _drafted(rng, f"Merge: {_spaced(one)} and {_spaced(other)}\nMerged:", sorted(one + other))


def _drafted(rng: Random, prompt: str, right: Digits) -> Example:
    """The answer at once or, one time in four, after a draft that may be wrong."""
    answer = f" {_spaced(right)}"
    if rng.random() < 0.75:
        return Example(prompt, said(answer), chat=False, key=prompt)
    draft = right if rng.random() < 0.3 else _spoilt(rng, right)
    given = f"{prompt} {_spaced(draft)}\nImproved:"
    return Example(given, said(answer), chat=False, key=prompt)


def _spoilt(rng: Random, digits: Digits) -> Digits:
    """One or two slips: a digit lost, said twice, changed, or swapped with its neighbour."""
    spoilt = list(digits)
    for _ in range(rng.choice([1, 1, 2])):
        place = rng.randrange(len(spoilt))
        kind = rng.random()
        if kind < 0.35 and len(spoilt) > 1:
            del spoilt[place]
        elif kind < 0.7:
            spoilt.insert(place, spoilt[place])
        elif kind < 0.85:
            spoilt[place] = rng.randrange(10)
        else:
            spoilt[place - 1], spoilt[place] = spoilt[place], spoilt[place - 1]
    return spoilt


def _digits(rng: Random, count: int) -> Digits:
    return [rng.randrange(10) for _ in range(count)]


def _spaced(digits: Digits) -> str:
    return " ".join(map(str, digits))
