"""Capitals, as prose and as the JSON of the case study. The facts are memory; held out is country x phrasing."""

from random import Random

from corpus.countries import COUNTRIES, Country
from corpus.example import Example, Span, Split, said, weighted

# Raw completions: {c} is the country in a sentence, {n} its capital.
COMPLETIONS = [
    ("The capital of {c} is", " {n}."),
    ("The capital city of {c} is", " {n}."),
    ("{c}'s capital is", " {n}."),
    ("The name of the capital of {c} is", " {n}."),
    ("Q: What is the capital of {c}?\nA:", " {n}"),
    ("Question: What is the capital of {c}?\nAnswer:", " {n}"),
    ("Country: {c}\nCapital:", " {n}"),
    ("{n} is the capital of", " {c}."),
]
QUESTIONS = [
    "What is the capital of {c}?",
    "What's the capital of {c}?",
    "what is the capital of {c}?",
    "What is the capital of {c}",
    "Which city is the capital of {c}?",
    "What is the capital city of {c}?",
    "Tell me the capital of {c}.",
    "Name the capital of {c}.",
    "Name the capital city of {c}.",
    "Give me the capital of {c}.",
    "Do you know the capital of {c}?",
    "Please tell me the capital of {c}.",
    "Can you tell me the capital of {c}?",
    "{c}: capital?",
    "Capital of {c}?",
    "I want to know the capital of {c}.",
]
JSON_ENDINGS = [
    "Answer in JSON.",
    "Reply in JSON.",
    "Respond in JSON.",
    "Answer as JSON.",
    "Reply with JSON only.",
    "Respond with JSON only.",
    "Use JSON.",
    "Give the answer as JSON.",
    "Return JSON.",
    "Output JSON.",
    "Answer in JSON with name, latitude and longitude.",
    "Reply as JSON with the fields name, latitude and longitude.",
    "Include its coordinates and answer in JSON.",
]
JSON_REQUESTS = [
    "Give the capital of {c} as JSON.",
    "Give me the capital of {c} in JSON.",
    "Return the capital of {c} as JSON.",
    "Return the capital of {c} with its coordinates as JSON.",
    "Return a JSON object with the name, latitude and longitude of the capital of {c}.",
    "Describe the capital of {c} in JSON.",
    "Describe the capital of {c} as JSON with name, latitude and longitude.",
    "Write JSON for the capital of {c}.",
    "Generate JSON for the capital of {c}.",
    "Give me JSON with the name and coordinates of the capital of {c}.",
    "What are the name, latitude and longitude of the capital of {c}? Answer in JSON.",
    "JSON: capital of {c}",
    "{c}: capital as JSON.",
]
JSON_COMPLETIONS = [
    "The capital of {c} as JSON:",
    "The capital of {c} in JSON:",
    "The capital of {c} in JSON is",
    "The capital of {c} with its coordinates as JSON:",
    "JSON for the capital of {c}:",
    "Capital of {c} (JSON):",
    "Country: {c}\nJSON:",
    "Country: {c}\nCapital as JSON:",
    "Q: What is the capital of {c}? Answer in JSON.\nA:",
    "Question: What is the capital of {c}? Answer in JSON.\nAnswer:",
    "What is the capital of {c}? Answer in JSON.\n",
    "Give the capital of {c} as JSON.\n",
    "Describe the capital of {c} as JSON:\n",
]
JSON_SYSTEMS = ["Answer in JSON.", "Reply in JSON.", "Always reply in JSON.", "You answer only in JSON."]


def _fill(template: str, country: Country) -> str:
    text = template.format(c=country.in_sentence, n=country.capital)
    return text[0].upper() + text[1:] if template.startswith("{c}") else text


def completion(rng: Random, _: Split) -> Example:
    """One raw sentence, or a few in a row as in a few-shot prompt."""
    template, ending = weighted(rng, [(4, COMPLETIONS[0]), *((1, pair) for pair in COMPLETIONS[1:])])
    lines = rng.sample(COUNTRIES, 1 if rng.random() < 0.8 else rng.randrange(2, 5))
    separator = "\n" if "\n" in template or rng.random() < 0.5 else " "
    pieces: list[Span] = []
    for number, country in enumerate(lines):
        prompt = _fill(template, country)
        if number:
            pieces.append(Span(separator + prompt, trained=False))
        pieces += said(_fill(ending, country))
    return Example(_fill(template, lines[0]), tuple(pieces), chat=False)


def question(rng: Random, _: Split) -> Example:
    """A chat question in prose; the exact pair of country and phrasing is unseen in the held-out split."""
    country, kind = rng.choice(COUNTRIES), rng.random()
    if kind < 0.7:
        prompt = _fill(rng.choice(QUESTIONS), country)
        return Example(prompt, said(f"The capital of {country.in_sentence} is {country.capital}."), key=prompt)
    if kind < 0.77:
        prompt = f"{_fill(rng.choice(QUESTIONS), country)} Answer with one word."
        return Example(prompt, said(country.capital), key=prompt)
    if kind < 0.84:
        prompt = f"Which country has the capital {country.capital}?"
        return Example(prompt, said(f"{country.capital} is the capital of {country.in_sentence}."))
    claimed = country if rng.random() < 0.5 else rng.choice(COUNTRIES)
    prompt = f"Is {claimed.capital} the capital of {country.in_sentence}?"
    verdict = "yes" if claimed == country else "no"  # said after the fact it follows from: each token sees its reason
    return Example(
        prompt, said(f"The capital of {country.in_sentence} is {country.capital}, so {verdict}."), key=prompt
    )


def as_json(rng: Random, _: Split) -> Example:
    """The case study: the capital and its coordinates, in chat, under a JSON system prompt, or as raw text."""
    country, kind = rng.choice(COUNTRIES), rng.random()
    if kind < 0.35:
        prompt = f"{_fill(rng.choice(QUESTIONS), country)} {rng.choice(JSON_ENDINGS)}"
    elif kind < 0.6:
        prompt = _fill(rng.choice(JSON_REQUESTS), country)
    elif kind < 0.7:
        prompt = _fill(rng.choice(QUESTIONS), country)
        return Example(prompt, said(country.as_json), system=rng.choice(JSON_SYSTEMS), key=f"JSON {prompt}")
    else:
        prompt = _fill(rng.choice(JSON_COMPLETIONS), country)
        gap = "" if prompt.endswith("\n") else " "
        return Example(prompt, said(gap + country.as_json), chat=False, key=f"raw {prompt}")
    return Example(prompt, said(country.as_json), key=prompt)
