"""Counting: what comes next stands in the last few tokens, so a program that forgets the rest can go on for ever."""

from random import Random

from corpus.example import Example, Split, said

TEMPLATES = ["Count from {a} to {b}.", "Count from {a} to {b}", "Count: {a} to {b}"]


def count(rng: Random, _: Split) -> Example:
    """From one number to another in chat, or a list that was begun without a word and goes on for a while."""
    begun = rng.random() < 0.5
    first = rng.randrange(rng.choice([20, 100, 1000, 10000]))
    length = rng.randrange(10, rng.choice([20, 60, 150]) if begun else 40)
    numbers = [str(number) for number in range(first, first + length)]
    if begun:
        given = rng.randrange(2, 5)
        shown, rest = ", ".join(numbers[:given]), "".join(f", {number}" for number in numbers[given:])
        return Example(f"{shown}", said(rest), chat=False, key=f"{first}...")
    template = rng.choice(TEMPLATES)
    return Example(template.format(a=first, b=numbers[-1]), said(", ".join(numbers)), key=f"{first}..{numbers[-1]}")
