"""Hierarchical attention is transformers under its mask; what nothing of it sees is freed."""

from __future__ import annotations

from itertools import chain

import pytest
import torch

from .conftest import Reference
from .masks import hierarchical
from .running import assert_told, run
from .streams import watch

NAMES = ["Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Hugo", "Iris", "Jack", "Kate", "Leo"]
THINGS = ["hammer", "kite", "lamp", "drum", "boat", "ring", "horse", "book", "mirror", "ladder", "bell", "coat"]
FACTS = [f"{name} has a {thing}. " for name, thing in zip(NAMES, THINGS, strict=True)]
FACTS[-1] = FACTS[-1].strip()
QUESTION = "Has Ben a boat?"  # facts 1 and 4


@pytest.mark.parametrize("page_size", [8, 16, 32])
@pytest.mark.parametrize(
    ("chunk", "selected", "found", "summary", "window"),
    [
        (2, 1, {0}, 1, 32),
        (2, 2, {0, 2}, 1, 9),
        (3, 2, {0, 1}, 4, 1),
        (5, 0, set(), 2, 60),
        (1, 20, set(range(12)), 1, 8),
        (20, 1, {0}, 1, 8),
    ],
)
def test_every_distribution_is_transformers_under_the_mask(
    reference: Reference, page_size: int, chunk: int, selected: int, found: set[int], summary: int, window: int
) -> None:
    options = {"chunk": chunk, "selected": selected, "summary": summary, "window": window, "question": QUESTION}
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    _, looks = watch("hierarchical_attention", "--text", "".join(FACTS), *arguments, page_size=page_size)

    chunks = [reference.encode("".join(FACTS[at : at + chunk])) for at in range(0, len(FACTS), chunk)]
    prompt = [*chain(*chunks), *reference.encode(f"\nQuestion: {QUESTION}\nAnswer:")]
    tokens = [*prompt, *(look.best for look in looks[:-1])]
    lengths = [len(tokens) for tokens in chunks]
    mask = hierarchical(lengths, found, summary, window, len(tokens) - sum(lengths))
    assert_told(looks, reference.logits(tokens, mask=torch.tensor(mask))[len(prompt) - 1 :])


def test_the_answer_is_right_on_a_part_of_the_pages(reference: Reference) -> None:
    """Each token is run once, the prompt in one pass; what is neither selected nor a summary nor recent is freed."""
    ran, looks = watch("hierarchical_attention", "--text", "".join(FACTS))
    assert ran.output.splitlines()[-1] == "Grace has a horse."
    prompt = reference.encode("".join(FACTS) + "\nQuestion: What does Grace have?\nAnswer:")
    assert ran.cost.tokens == len(prompt) + len(looks) - 1
    assert ran.cost.forwards == len(looks)
    assert looks[0].pages < -(-len(prompt) // 8) * 2 / 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--chunk", "0"], "--chunk 0: there must be 1 at least"),
        (["--window", "0"], "--window 0: there must be 1 at least"),
        (["--summary", "0"], "--summary 0: there must be 1 at least"),
        (["--selected", "-1"], "--selected -1: there must be 0 at least"),
        (["--text", " "], "--text is empty"),
    ],
)
def test_what_cannot_work_is_refused(arguments: list[str], message: str) -> None:
    ended = run("hierarchical_attention", *arguments).outcome.ended
    assert ended.status == "failed"
    assert message in (ended.error or "")
