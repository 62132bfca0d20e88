"""What several techniques are asked: who has what, in a text as long as one wants."""

from collections.abc import Sequence

NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Hugo", "Iris", "Jack", "Kate", "Leo")
THINGS = ("hammer", "kite", "lamp", "drum", "boat", "ring", "horse", "book", "mirror", "ladder", "bell", "coat")


def possessions(times: int, part: slice = slice(None)) -> str:
    """Who has what, said so many times: 13 tokens for each name. part: of the names."""
    told = list(zip(NAMES[part], THINGS[part], strict=True))
    return " ".join(f"{name} has a {thing}." for name, thing in told * times)


def questions(clients: int) -> list[str]:
    """A question for each client."""
    return [f"What does {NAMES[number % len(NAMES)]} have?" for number in range(clients)]


def suffixes(clients: int) -> list[str]:
    """The same as programs put them behind a text."""
    return [f"\nQuestion: {question}\nAnswer:" for question in questions(clients)]


def answers(told: Sequence[str], clients: int) -> list[str]:
    """What programs of caching said behind each question, without the bracket of counters at its end."""
    texts = [text.rpartition(" [")[0] for text in told]
    return [text.removeprefix(question) for text, question in zip(texts, questions(clients), strict=True)]
