"""A prompt of cached modules is transformers under the same block mask and positions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain

import pytest
import torch

from .conftest import Reference
from .masks import modular
from .running import Look, Ran, assert_told, run, run_on, serving, watching

MODULES = {  # in order; the place of the second is shared
    "shed": "Anna has a hammer. Ben has a ladder. ",
    "summer": "Emma has a boat. Felix has a kite. ",
    "winter": "Emma has a coat. Felix has a bell, and a very long red scarf. ",
    "kitchen": "Clara has a lamp. David has a spoon. ",
}
SCHEMA = "\n".join(f"{'or ' if name == 'winter' else ''}{name}: {text.strip()}" for name, text in MODULES.items())
ASKED = [  # each with its modules, in an order of its own
    (["shed", "kitchen"], "What does Clara have?"),
    (["summer"], "What does Emma have?"),
    (["kitchen", "winter", "shed"], "What does Emma have?"),
    ([], "What does Emma have?"),
]


def given(asked: Sequence[tuple[list[str], str]], keep: str = "0", schema: str = SCHEMA) -> list[str]:
    prompts = [f"{''.join(f'{{{name}}}' for name in names)} {question}" for names, question in asked]
    return ["--schema", schema, "--prompts", "\n".join(prompts), "--keep", keep]


def places(reference: Reference) -> tuple[dict[str, int], int]:
    """The position of each module's first token, and the one behind all."""
    length = {name: len(reference.encode(text)) for name, text in MODULES.items()}
    second, third = length["shed"], length["shed"] + max(length["summer"], length["winter"])
    return {"shed": 0, "summer": second, "winter": second, "kitchen": third}, third + length["kitchen"]


def suffix(reference: Reference, question: str) -> list[int]:
    return reference.encode(f"\nQuestion: {question}\nAnswer:")


def expected(reference: Reference, names: list[str], question: str, said: list[int]) -> torch.Tensor:
    """The logits behind each token of the answer, from one forward pass."""
    starts, end = places(reference)
    modules = [reference.encode(MODULES[name]) for name in names]
    tail = [*suffix(reference, question), *said]
    positions = [starts[name] + at for name, tokens in zip(names, modules, strict=True) for at in range(len(tokens))]
    positions += range(end, end + len(tail))
    mask = torch.tensor(modular([len(tokens) for tokens in modules], len(tail)))
    return reference.logits([*chain(*modules), *tail], positions, mask)[-len(said) - 1 :]


@pytest.mark.parametrize("page_size", [8, 16, 32])
def test_every_distribution_is_transformers_under_the_block_mask(reference: Reference, page_size: int) -> None:
    """The second run finds all modules; it is told the same."""
    pages = sum(-(-len(reference.encode(text)) // page_size) for text in MODULES.values())

    async def go() -> tuple[Ran, list[Look], list[Look]]:
        async with serving(page_size=str(page_size)) as controller:
            with watching(controller) as first:
                ran = await run_on(controller, "modular_caching", *given(ASKED, "60"), pages_kept=pages)
            with watching(controller) as second:
                await run_on(controller, "modular_caching", *given(ASKED, "60"), pages_kept=pages)
            return ran, first, second

    ran, first, second = asyncio.run(go())
    end, left, logits = reference.tokenizer.eos_token_id, list(first), []
    for (names, question), line in zip(ASKED, ran.output.splitlines(), strict=True):
        said: list[int] = []
        while len(said) < 16 and (best := left.pop(0).best) != end:
            said.append(best)
        told = said if len(said) < 16 else said[:-1]
        logits.append(expected(reference, names, question, told))
        assert line.startswith(f"{question}{reference.decode(said)} [")
    assert not left
    assert_told(first, torch.cat(logits))
    assert_told(second, torch.cat(logits))


def test_each_module_is_computed_once_and_only_what_is_new_after_that(reference: Reference) -> None:
    pages = sum(-(-len(reference.encode(text)) // 16) for text in MODULES.values())

    async def go() -> list[tuple[Ran, int]]:
        async with serving() as controller:
            ran = []
            for _ in range(2):
                with watching(controller) as looks:
                    one = await run_on(controller, "modular_caching", *given(ASKED, "60"), pages_kept=pages)
                ran.append((one, len(looks) - len(ASKED)))
            return ran

    (first, answers), (second, _) = asyncio.run(go())
    modules = sum(len(reference.encode(text)) for text in MODULES.values())
    new = [len(suffix(reference, question)) for _, question in ASKED]
    assert second.cost.tokens == sum(new) + answers
    assert first.cost.tokens == modules + second.cost.tokens
    assert [f"[computed {count} of" in line for count, line in zip(new, second.output.splitlines(), strict=True)] == [
        True
    ] * 4


def test_by_default_nothing_is_left_so_every_run_is_the_same() -> None:
    async def go() -> list[Ran]:
        async with serving() as controller:
            return [await run_on(controller, "modular_caching") for _ in range(2)]

    first, second = asyncio.run(go())
    assert first == second
    assert "Clara has a lamp." in first.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (given([(["cellar"], "What?")]), "no module is named 'cellar'; the schema has shed, summer, winter, kitchen"),
        (given([(["summer", "winter"], "What?")]), "names two modules of one place"),
        (given([(["shed", "shed"], "What?")]), "names two modules of one place"),
        (given([], schema="shed: Anna.\nshed: Ben."), "'shed: Ben.' is not `name: text` with a name of its own"),
        (given([], schema="shed:"), "'shed:' is not `name: text`"),
        (given([], schema="a shed: Anna."), "'a shed: Anna.' is not `name: text`"),
        (given([], schema=f"shed: {'word ' * 2000}"), "module 'shed' ends at position 4000, past the model's 2048"),
        (given([(["shed"], "What?")], schema=f"shed: {'word ' * 1020}"), "'What?' and its answer do not fit between"),
        (["--keep", "-1"], "--keep -1.0: wanted are seconds"),
    ],
)
def test_what_cannot_work_is_refused(arguments: list[str], message: str) -> None:
    ended = run("modular_caching", *arguments).outcome.ended
    assert ended.status == "failed"
    assert message in (ended.error or "")
