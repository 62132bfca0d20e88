"""Questions about numbers and bar charts."""

import json
from random import Random

from corpus.example import Example, said

from pictures.chart import LETTERS, Chart
from pictures.number import Number


def read(rng: Random, picture: Number) -> Example:
    what = "digit" if len(picture.digits) == 1 else "number"
    prompt = rng.choice([f"What {what} is this?", "What number is in the picture?", "Read the number."])
    return Example(prompt, said(picture.digits))


def read_json(rng: Random, picture: Number) -> Example:
    return Example("Read the number. Answer in JSON.", said(json.dumps({"number": int(picture.digits)})))


def digits(rng: Random, picture: Number) -> Example:
    return Example("How many digits are there?", said(str(len(picture.digits))))


def value(rng: Random, picture: Chart) -> Example:
    bar = rng.randrange(len(picture.values))
    if len(set(picture.colours)) > 1 and rng.random() < 0.4:
        return Example(f"What is the value of the {picture.colours[bar]} bar?", said(str(picture.values[bar])))
    return Example(f"What is the value of {LETTERS[bar]}?", said(str(picture.values[bar])))


def extreme(rng: Random, picture: Chart) -> Example | None:
    word, best = rng.choice([("tallest", max(picture.values)), ("shortest", min(picture.values))])
    if picture.values.count(best) > 1:
        return None
    return Example(f"Which bar is the {word}?", said(LETTERS[picture.values.index(best)]))


def taller(rng: Random, picture: Chart) -> Example | None:
    one, other = rng.sample(range(len(picture.values)), 2)
    if picture.values[one] == picture.values[other]:
        return None
    truth = picture.values[one] > picture.values[other]
    return Example(f"Is {LETTERS[one]} taller than {LETTERS[other]}?", said("Yes" if truth else "No"))


def bars(rng: Random, picture: Chart) -> Example:
    return Example("How many bars are there?", said(str(len(picture.values))))


def bar_colour(rng: Random, picture: Chart) -> Example:
    bar = rng.randrange(len(picture.values))
    return Example(f"What colour is {LETTERS[bar]}?", said(picture.colours[bar]))


def chart_json(rng: Random, picture: Chart) -> Example:
    prompt = rng.choice(["Read the chart. Answer in JSON.", "Answer in JSON."])
    return Example(prompt, said(json.dumps(dict(zip(LETTERS, picture.values, strict=False)))))


def describe_chart(rng: Random, picture: Chart) -> Example:
    listed = [f"{letter} is {value}" for letter, value in zip(LETTERS, picture.values, strict=False)]
    prompt = rng.choice(["Describe the picture.", "Read the chart."])
    return Example(prompt, said(f"A bar chart: {', '.join(listed[:-1])} and {listed[-1]}."))
