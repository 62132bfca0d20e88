"""Reason-and-act transcripts with the tools calculator[expression], lookup[key] and clock[what].

What a tool says is given, never trained, and half of it is made up: a value in an answer can only come from the
observation. The answer after `Observation:` is the runtime's to write, so each trained stretch ends at that word. A
tool that fails says `error: ...`; the model says so and makes nothing up.
"""

from collections.abc import Callable
from random import Random

from corpus.countries import COUNTRIES
from corpus.example import Example, Span, Split, weighted
from corpus.tool_calls import Transcript
from corpus.words import NAMES, NOUNS, any_word, made_up_word

TRIGGERS = [
    "Use tools. {q}",
    "Use the tools. {q}",
    "{q} Use tools.",
    "Answer with tools. {q}",
    "Use tools to answer. {q}",
]
SYSTEMS = [
    "Use the tools calculator[expression] and lookup[key].",
    "Use tools. You can call calculator[expression] and lookup[key].",
    "You can use two tools: calculator[expression] and lookup[key]. Write Thought, Action, Observation and Answer.",
    "Answer with the tools calculator[expression] and lookup[key]. Think before each action.",
    "Use the tools calculator[expression], lookup[key] and clock[what].",
    "Use tools. You can call calculator[expression], lookup[key] and clock[what].",
    "You have tools: calculator[expression], lookup[key], clock[what]. Write Thought, Action, Observation and Answer.",
]
RAW_PROMPTS = ["Question: {q}\n", "Use tools.\nQuestion: {q}\n"]
ATTRIBUTES = """
population price height age color weight length area speed owner mayor currency language size depth width temperature
""".split()
WEATHER = "sunny rainy cloudy windy snowy foggy stormy hot cold mild".split()


Task = Callable[[Random, Split], tuple[str, tuple[Span, ...]]]


def _number(rng: Random) -> int:
    return rng.randrange(1, 10 ** rng.randrange(1, 4))


def _city(rng: Random) -> str:
    return rng.choice(COUNTRIES).capital if rng.random() < 0.6 else made_up_word(rng).capitalize()


def _item(rng: Random, split: Split) -> str:
    return rng.choice(NOUNS) if rng.random() < 0.5 else any_word(rng, split)


def _value(rng: Random, split: Split) -> str:
    """A made-up observation: a number of any size, a decimal, a word or two, a name."""
    kind = rng.random()
    if kind < 0.5:
        return str(rng.randrange(10 ** rng.randrange(1, 9)))
    if kind < 0.6:
        return f"{rng.randrange(1000)}.{rng.randrange(100):02d}"
    if kind < 0.75:
        return f"{_number(rng)} {rng.choice(['degrees', 'dollars', 'people', 'meters', 'kg', 'euros', 'years'])}"
    if kind < 0.85:
        return made_up_word(rng).capitalize()
    return " ".join(any_word(rng, split) for _ in range(rng.randrange(1, 4)))


def _calculation(rng: Random, _: Split) -> tuple[str, tuple[Span, ...]]:
    a, b, c = (_number(rng) for _ in range(3))
    first, second = rng.choice("+-*"), rng.choice("+-*")
    simple = f"{a} {first} {b}"
    expression = weighted(
        rng,
        [(3, simple), (1, f"({simple}) {second} {c}"), (1, f"{c} {second} ({simple})"), (1, f"{simple} {second} {c}")],
    )
    question = rng.choice(["What is {e}?", "Calculate {e}.", "Compute {e}.", "How much is {e}?"]).format(e=expression)
    steps = Transcript()
    return question, steps.answer(steps.calculate(expression))


def _word_problem(rng: Random, split: Split) -> tuple[str, tuple[Span, ...]]:
    name, thing, box = rng.choice(NAMES), f"{_item(rng, split)}s", rng.choice(["box", "bag", "shelf", "basket", "row"])
    boxes = {"box": "boxes", "shelf": "shelves"}.get(box, f"{box}s")
    a, b = _number(rng), _number(rng)
    question, expression = rng.choice(
        [
            (f"{name} has {a} {boxes} with {b} {thing} each. How many {thing} are there?", f"{a} * {b}"),
            (f"{name} has {a} {thing} and buys {b} more. How many {thing} does {name} have?", f"{a} + {b}"),
            (f"{name} had {a + b} {thing} and lost {b}. How many {thing} are left?", f"{a + b} - {b}"),
            (f"One {box} holds {b} {thing}. How many {thing} do {a} {boxes} hold?", f"{a} * {b}"),
        ]
    )
    steps = Transcript()
    return question, steps.answer(f"{steps.calculate(expression)} {thing}")


def _attribute(rng: Random, split: Split) -> tuple[str, tuple[Span, ...]]:
    attribute = rng.choice(ATTRIBUTES) if rng.random() < 0.8 else any_word(rng, split)
    thing = _city(rng) if rng.random() < 0.5 else f"the {_item(rng, split)}"
    steps = Transcript()
    value = steps.look_up(f"{attribute} of {thing.removeprefix('the ')}", _value(rng, split))
    return f"What is the {attribute} of {thing}?", steps.answer(f"The {attribute} of {thing} is {value}.")


def _weather(rng: Random, split: Split) -> tuple[str, tuple[Span, ...]]:
    city, steps = _city(rng), Transcript()
    if rng.random() < 0.5:
        value = steps.look_up(f"weather in {city}", rng.choice(WEATHER) if rng.random() < 0.5 else _value(rng, split))
        question = rng.choice([f"What is the weather in {city}?", f"How is the weather in {city}?"])
        return question, steps.answer(f"The weather in {city} is {value}.")
    return rng.choice([f"How warm is it in {city}?", f"What is the temperature in {city}?"]), _temperature(
        rng, steps, city
    )


def _temperature(rng: Random, steps: Transcript, city: str) -> tuple[Span, ...]:
    value = str(rng.randrange(-30, 50)) if rng.random() < 0.8 else f"{rng.randrange(50)}.{rng.randrange(10)}"
    steps.look_up(f"temperature in {city}", value + rng.choice(["", " degrees"]))
    return steps.answer(f"It is {value} degrees in {city}.")


def _capital(rng: Random, split: Split) -> tuple[str, tuple[Span, ...]]:
    """Two lookups; the city is the observed one even when it is not the capital the model remembers."""
    country, steps = rng.choice(COUNTRIES), Transcript()
    city = steps.look_up(f"capital of {country.name}", country.capital if rng.random() < 0.6 else _city(rng))
    where = f"the capital of {country.in_sentence}"
    if rng.random() < 0.3:
        return f"What is {where}?", steps.answer(f"The capital of {country.in_sentence} is {city}.")
    if rng.random() < 0.6:
        question = rng.choice([f"How warm is it in {where}?", f"What is the temperature in {where}?"])
        return question, _temperature(rng, steps, city)
    value = steps.look_up(f"population of {city}", str(rng.randrange(10 ** rng.randrange(3, 9))))
    return f"What is the population of {where}?", steps.answer(f"The population of {city} is {value}.")


def _cost(rng: Random, split: Split) -> tuple[str, tuple[Span, ...]]:
    first, second, steps = _item(rng, split), _item(rng, split), Transcript()
    a, b, price = rng.randrange(2, 100), rng.randrange(2, 100), str(_number(rng))
    verb = rng.choice(["How much do", "What do"])
    steps.look_up(f"price of {first}", price)
    if rng.random() < 0.6:
        total = steps.calculate(f"{a} * {price}")
        return f"{verb} {a} {first}s cost?", steps.answer(f"{a} {first}s cost {total}.")
    other = steps.look_up(f"price of {second}", str(_number(rng)))
    total = steps.calculate(f"{a} * {price} + {b} * {other}")
    items = f"{a} {first}s and {b} {second}s"
    return f"{verb} {items} cost?", steps.answer(f"{items} cost {total}.")


def _two_cities(rng: Random, _: Split) -> tuple[str, tuple[Span, ...]]:
    one, two, steps = _city(rng), _city(rng), Transcript()
    if rng.random() < 0.5:
        a = steps.look_up(f"population of {one}", str(rng.randrange(10 ** rng.randrange(3, 8))))
        b = steps.look_up(f"population of {two}", str(rng.randrange(10 ** rng.randrange(3, 8))))
        total = steps.calculate(f"{a} + {b}")
        question = rng.choice(
            ["How many people live in {one} and {two} together?", "What is the population of {one} and {two} together?"]
        )
        return question.format(one=one, two=two), steps.answer(f"{one} and {two} have {total} people together.")
    a = steps.look_up(f"temperature in {one}", str(rng.randrange(20, 50)))
    b = steps.look_up(f"temperature in {two}", str(rng.randrange(20)))
    difference = steps.calculate(f"{a} - {b}")
    return f"How much warmer is {one} than {two}?", steps.answer(f"{one} is {difference} degrees warmer than {two}.")


def _fahrenheit(rng: Random, _: Split) -> tuple[str, tuple[Span, ...]]:
    city, steps = _city(rng), Transcript()
    celsius = steps.look_up(f"temperature in {city}", str(rng.randrange(50)))
    value = steps.calculate(f"{celsius} * 9 / 5 + 32")
    return f"How warm is it in {city} in Fahrenheit?", steps.answer(f"It is {value} Fahrenheit in {city}.")


def _clock_time(rng: Random) -> str:
    return f"{rng.randrange(24):02d}:{rng.randrange(60):02d}"


def _date(rng: Random) -> str:
    return f"{rng.randrange(1990, 2090)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}"


def _time(rng: Random, _: Split) -> tuple[str, tuple[Span, ...]]:
    steps, kind = Transcript(), rng.random()
    if kind < 0.35:
        city = _city(rng)
        value = steps.ask_clock(f"time in {city}", _clock_time(rng))
        return f"What time is it in {city}?", steps.answer(f"It is {value} in {city}.")
    if kind < 0.65:
        value = steps.ask_clock("time", _clock_time(rng))
        return rng.choice(["What time is it?", "What is the time?"]), steps.answer(f"It is {value}.")
    if kind < 0.9:
        value = steps.ask_clock("date", _date(rng))
        return rng.choice(["What is the date?", "What is the date today?"]), steps.answer(f"The date is {value}.")
    value = steps.ask_clock("year", str(rng.randrange(1990, 2090)))
    return rng.choice(["What year is it?", "Which year is it?"]), steps.answer(f"It is {value}.")


def _capital_time(rng: Random, _: Split) -> tuple[str, tuple[Span, ...]]:
    country, steps = rng.choice(COUNTRIES), Transcript()
    city = steps.look_up(f"capital of {country.name}", country.capital if rng.random() < 0.6 else _city(rng))
    value = steps.ask_clock(f"time in {city}", _clock_time(rng))
    return f"What time is it in the capital of {country.in_sentence}?", steps.answer(f"It is {value} in {city}.")


def _years(rng: Random, split: Split) -> tuple[str, tuple[Span, ...]]:
    """Sums over the year that the clock tells."""
    steps, year = Transcript(), rng.randrange(2000, 2090)
    kind, other = rng.random(), rng.randrange(1900, 2000)
    if kind < 0.35:
        name = rng.choice(NAMES)
        steps.ask_clock("year", str(year))
        age = steps.calculate(f"{year} - {other}")
        return f"{name} was born in {other}. How old is {name}?", steps.answer(f"{name} is {age} years old.")
    if kind < 0.7:
        thing = _item(rng, split)
        steps.look_up(f"year of {thing}", str(other))
        steps.ask_clock("year", str(year))
        age = steps.calculate(f"{year} - {other}")
        return f"How old is the {thing}?", steps.answer(f"The {thing} is {age} years old.")
    later = year + rng.randrange(1, 100)
    steps.ask_clock("year", str(year))
    years = steps.calculate(f"{later} - {year}")
    return f"How many years are left until {later}?", steps.answer(f"{years} years are left until {later}.")


TASKS: list[tuple[float, Task]] = [
    (0.2, _calculation),
    (0.12, _word_problem),
    (0.15, _attribute),
    (0.13, _weather),
    (0.17, _capital),
    (0.12, _cost),
    (0.08, _two_cities),
    (0.03, _fahrenheit),
    (0.07, _time),
    (0.05, _capital_time),
    (0.07, _years),
]
FAILING = 0.08  # of transcripts: a tool fails on the way


def _cut_short(rng: Random, split: Split, answer: tuple[Span, ...]) -> tuple[Span, ...]:
    """The same transcript up to one of its calls, which fails."""
    calls = len(answer) // 2
    return Transcript(list(answer[: 2 * rng.randrange(1, calls + 1)])).give_up(rng, split)


def react(rng: Random, split: Split) -> Example:
    question, answer = weighted(rng, TASKS)(rng, split)
    if rng.random() < FAILING:
        answer = _cut_short(rng, split, answer)
    kind = rng.random()
    if kind < 0.3:
        return Example(rng.choice(RAW_PROMPTS).format(q=question), answer, chat=False, key=question)
    if kind < 0.6:
        return Example(question, answer, system=rng.choice(SYSTEMS), key=question)
    return Example(rng.choice(TRIGGERS).format(q=question), answer, key=question)
