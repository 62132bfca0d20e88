"""JSON from a sentence about a person: all four fields, or those asked for. Whole sentences are unseen."""

import json
from random import Random

from corpus.countries import COUNTRIES
from corpus.example import Example, Split, said
from corpus.words import JOBS, any_name, made_up_word

SENTENCES = [
    "{name} is a {age} year old {job} from {city}.",
    "{name}, aged {age}, lives in {city} and works as {a_job}.",
    "The {job} {name} ({age}) comes from {city}.",
    "{name} lives in {city}. {name} is {age} years old and works as {a_job}.",
    "In {city} there is {a_job} called {name} who is {age} years old.",
    "My name is {name}. I am {a_job} from {city} and I am {age} years old.",
    "I met {name}, {a_job} of {age}, in {city}.",
    "At the age of {age}, {name} moved to {city} to work as {a_job}.",
    "{name} works in {city} as {a_job} and is {age}.",
    "{age} year old {name} is {a_job} in {city}.",
    "Our {job} in {city} is {name}, who turned {age} last week.",
    "Yesterday {name} turned {age}. The {job} still lives in {city}.",
]
FIELDS = ["name", "age", "city", "job"]
REQUESTS = [
    "Extract JSON: {t}",
    "Extract the data as JSON: {t}",
    "Extract name, age, city and job as JSON: {t}",
    "Extract the name, age, city and job as JSON: {t}",
    "Turn this into JSON: {t}",
    "Convert to JSON: {t}",
    "{t} Extract JSON.",
    "Extract JSON with name, age, city and job from this sentence: {t}",
]
RAW_REQUESTS = ["Text: {t}\nJSON:", "Sentence: {t}\nJSON:", "Extract JSON: {t}\n", "Input: {t}\nJSON:"]


def extract(rng: Random, _: Split) -> Example:
    city = rng.choice(COUNTRIES).capital if rng.random() < 0.6 else made_up_word(rng).capitalize()
    job = rng.choice(JOBS) if rng.random() < 0.8 else made_up_word(rng)
    person = {"name": any_name(rng), "age": rng.randrange(1, 100), "city": city, "job": job}
    a_job = f"an {job}" if job[0] in "aeiou" else f"a {job}"
    text = rng.choice(SENTENCES).format(**person, a_job=a_job)
    kind = rng.random()
    if kind < 0.2:
        fields = rng.sample(FIELDS, rng.randrange(1, 4))
        wanted = " and ".join(filter(None, [", ".join(fields[:-1]), fields[-1]]))
        answer = json.dumps({field: person[field] for field in fields})
        return Example(f"Extract {wanted} as JSON: {text}", said(answer), key=text)
    if kind < 0.4:
        prompt = rng.choice(RAW_REQUESTS).format(t=text)
        gap = "" if prompt.endswith("\n") else " "
        return Example(prompt, said(gap + json.dumps(person)), chat=False, key=text)
    return Example(rng.choice(REQUESTS).format(t=text), said(json.dumps(person)), key=text)
