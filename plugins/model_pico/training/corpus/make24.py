"""A game of 24 for tree search: list the next steps of a state, or think aloud and rate it. Whole puzzles are held out.

The numbers that are left stand in order, so that a state is one text. A product is a step only of numbers up to 12.
The rating looks one step ahead and no further: `sure`, `likely` and `impossible` are a judgement that may be wrong, as
in Yao et al. 2023.
"""

from itertools import combinations
from random import Random

from corpus.example import Example, Split, said

RULES = "Use each number once with + - * to make 24.\n"
LARGEST_FACTOR = 12
State = tuple[int, ...]


def propose(rng: Random, split: Split) -> Example:
    """All next steps of a state, one a line, pair by pair."""
    root, path, state = _position(rng, leaves=False)
    listed = "\n".join(line for line, _ in steps(state))
    return Example(f"{written(root, path)}Steps:\n", said(listed), chat=False, key=_key(root))


def rate(rng: Random, split: Split) -> Example:
    """What two of the numbers give, what the largest needs, and the verdict; half the time of a promising state."""
    root, path, state = _position(rng, leaves=True)
    return Example(f"{written(root, path)}Value:", said(f" {value(state)}"), chat=False, key=_key(root))


def written(root: State, path: list[str]) -> str:
    """The puzzle and the steps taken so far."""
    return f"{RULES}Numbers: {_spaced(root)}\n" + "".join(f"{line}\n" for line in path)


def steps(state: State) -> list[tuple[str, State]]:
    """Each step as a line, with the state that it leaves. Pairs in order, equal ones once, so one tells the next."""
    found = []
    for pair in sorted(set(combinations(state, 2))):
        rest = list(state)
        for number in pair:
            rest.remove(number)
        for line, result in _results(*pair):
            left = tuple(sorted([*rest, result]))
            found.append((f"{line} = {result} left {_spaced(left)}", left))
    return found


def value(state: State) -> str:
    """The reasoning and, as its last word, the verdict."""
    if len(state) == 1:
        return f"{state[0]}: {'sure' if state[0] == 24 else 'impossible'}"
    a, b = state[:2]
    given = [result for _, result in _results(a, b)]
    gives = f"{a} {b} give {_spaced(given)}"
    if len(state) == 2:
        return f"{gives}: {'sure' if 24 in given else 'impossible'}"
    needed = _needs(state[2])
    verdict = "sure" if set(given) & set(needed) else "likely" if max(given) >= min(needed) else "impossible"
    return f"{gives}, {state[2]} needs {_spaced(needed)}: {verdict}"


def _results(a: int, b: int) -> list[tuple[str, int]]:
    """Sum, difference and product of a <= b."""
    product = [(f"{a} * {b}", a * b)] if b <= LARGEST_FACTOR else []
    return [(f"{a} + {b}", a + b), (f"{b} - {a}", b - a), *product]


def _needs(number: int) -> list[int]:
    """What would make 24 with this number: by a sum or as what is taken away, from something larger, as a factor."""
    factor = [24 // number] if 2 <= number <= LARGEST_FACTOR and 24 % number == 0 else []
    return [abs(24 - number), 24 + number, *factor]


def _position(rng: Random, leaves: bool) -> tuple[State, list[str], State]:
    """A puzzle and some way into it, half the time among the best rated steps."""
    root = tuple(sorted(rng.randrange(1, 10) for _ in range(4 if rng.random() < 0.8 else 3)))
    depth = rng.choice([1, *range(1, len(root))]) if leaves else rng.randrange(len(root) - 1)
    promising, path, state = rng.random() < 0.5, [], root
    for _ in range(depth):
        choices = steps(state)
        if promising:
            best = [step for step in choices if value(step[1]).endswith("sure")]
            choices = best or [step for step in choices if value(step[1]).endswith("likely")] or choices
        line, state = rng.choice(choices)
        path.append(line)
    return root, path, state


def _spaced(numbers: State | list[int]) -> str:
    return " ".join(map(str, numbers))


def _key(root: State) -> str:
    return f"24 {_spaced(root)}"
