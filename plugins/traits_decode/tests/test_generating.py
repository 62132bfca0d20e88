"""Tokens that the server draws are those of a program that asks for distributions, and the context is left the same."""

from __future__ import annotations

import pytest

from pie_core.plugins import Selection

from .asking import SAMPLERS, WITH, WITHOUT, finished

BODIES = {
    "so many tokens": "said.append(await context.generate(SAMPLER, stop=max_tokens(9)))",
    "one token": "said.append(await context.generate(SAMPLER, stop=max_tokens(1)))",
    "no token": "said.append(await context.generate(SAMPLER, stop=max_tokens(0)))",
    "a bound and a string": "said.append(await context.generate_until(12, stop='e', sampler=SAMPLER))",
    "a condition that nobody can foresee": "said.append(await context.generate(SAMPLER, lambda t, s: len(t) == 7))",
    "one sampler twice": """
sampler = SAMPLER
for _ in range(2):
    said.append(await context.generate(sampler, max_tokens(5)))
""",
    "a fork in the middle": """
async for piece in context.stream(SAMPLER, max_tokens(9)):
    with context.fork() as branch:
        said.append([piece, (await branch.next_dist(3)).ids])
""",
    "a cut in the middle": """
async for piece in context.stream(SAMPLER, max_tokens(9)):
    said.append(piece)
    if len(context.tokens) == 14:
        context.truncate(12)
""",
    "words put in between": """
async for piece in context.stream(SAMPLER, max_tokens(6)):
    said.append(piece)
    context.fill_tokens([33])
""",
    "an early end": """
async for piece in context.stream(SAMPLER):
    said.append(piece)
    if len(said) == 4:
        break
""",
    "a cancelled wait": """
sampler = SAMPLER
for _ in range(3):
    waiting = asyncio.ensure_future(context.generate(sampler, max_tokens(1)))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    said.append(await context.generate(sampler, max_tokens(2)))
""",
    "a cancelled wait for a condition that nobody can foresee": """
sampler = SAMPLER
for _ in range(3):
    waiting = asyncio.ensure_future(context.generate(sampler, lambda t, s: len(t) == 1))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    said.append(await context.generate(sampler, lambda t, s: len(t) == 2))
""",
    "words put in behind a cancelled wait": """
waiting = asyncio.ensure_future(context.generate(SAMPLER, max_tokens(40)))
await asyncio.sleep(0)
waiting.cancel()
await asyncio.gather(waiting, return_exceptions=True)
context.fill_tokens([33, 34, 35])
said.append(await context.generate(SAMPLER, max_tokens(3)))
""",
    "several distributions before, and a cut behind it": """
said.append([dist.ids[:3] for dist in await context.next_dists(4)])
said.append(await context.generate(SAMPLER, max_tokens(5)))
context.truncate(len(context.tokens) - 1)
""",
    "biases": "said.append(await context.generate(SAMPLER, max_tokens(40), [adjust({40: 2.0, 7: -1.0})]))",
    "penalties": """
for _ in range(2):
    said.append(await context.generate(SAMPLER, max_tokens(40), [adjust(presence=0.5, frequency=0.25)]))
""",
    "penalties, and a condition that nobody can foresee": """
said.append(await context.generate(SAMPLER, lambda t, s: len(t) == 7, [adjust(frequency=0.5)]))
""",
    "another answer behind the first": """
for _ in range(3):
    said.append(await context.generate(SAMPLER, max_tokens(11)))
""",
    "strings that end it": """
for ending in ("e", "\x01", "", "xyz", "\u00e9"):
    said.append(await context.generate_until(40, stop=[ending, "q"], sampler=SAMPLER))
""",
    "an export in the middle": """
async for piece in context.stream(SAMPLER, max_tokens(9)):
    context.export("it")
    with Context.open(model, "it", context.tokens) as again:
        said.append([piece, (await again.next_dist(3)).ids])
    release_kvpage("it")
""",
    "two at once": """
with context.fork() as other:
    samplers = SAMPLER, SAMPLER
    said += await asyncio.gather(
        context.generate(samplers[0], max_tokens(20)), other.generate(samplers[1], max_tokens(7))
    )
""",
    "an adapter": """
with model.create_context("loud") as other:
    await other.fill("What is it?")
    said.append(await other.generate(SAMPLER, max_tokens(9)))
    said.append((await other.next_dist(4)).ids)
""",
    "masks in the middle": """
async for piece in context.stream(SAMPLER, max_tokens(6)):
    said.append(piece)
    context.mask([len(context.tokens) - 3])
""",
    "another pattern of attention in the middle": """
async for piece in context.stream(SAMPLER, max_tokens(6)):
    said.append(piece)
    context.attention = lambda at: [range(max(0, at - 3), at)]
""",
    "a pattern of attention": """
context.attention = lambda at: [range(2), range(max(0, at - 4), at + 1)]
said.append(await context.generate(SAMPLER, max_tokens(90)))
said.append(await context.generate_until(40, stop="e", sampler=SAMPLER))
""",
    "a pattern of attention, and penalties": """
context.attention = lambda at: [range(max(0, at - 4), at + 1)]
said.append(await context.generate(SAMPLER, max_tokens(40), [adjust({40: 2.0}, presence=0.5)]))
""",
    "a pattern of attention, masks, and pages that go": """
context.attention = lambda at: [range(2), range(max(0, at - 9), at + 1)]
async for piece in context.stream(SAMPLER, max_tokens(40)):
    context.drop_masked_pages()
    if len(context.tokens) % 7 == 0:
        context.mask([len(context.tokens) - 3])
    said.append(piece)
""",
}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_program_gets_the_same_with_and_without(body: str, sampler: str) -> None:
    body = body.replace("SAMPLER", sampler)
    drawn, _ = finished(body, WITH)
    waited, _ = finished(body, WITHOUT)
    assert drawn == waited


def test_the_end_of_an_answer_is_found_and_cut_off() -> None:
    body = """
said.append(await context.generate(stop=max_tokens(6)))
model.eos_tokens = (context.tokens[-2],)
context.truncate(11)
sampler = greedy()
said.append(await context.generate(sampler))
said.append(len(context.tokens))
said.append(await context.generate(sampler))
"""
    drawn, took = finished(body, WITH)
    waited, takes = finished(body, WITHOUT)
    assert drawn == waited and drawn[2] == 15
    assert took["passes"] == takes["passes"]  # no token is run in vain, nor again


@pytest.mark.parametrize("stop", ["max_tokens(5)", "lambda tokens, text: len(tokens) == 5"])
def test_a_context_that_has_generated_is_freed_with_the_object(stop: str) -> None:
    body = f"""
before = debug_query(context.queue, "space")
other = model.create_context()
await other.fill("Well")
await other.generate(stop={stop})
del other
await asyncio.sleep(0)
said.append(debug_query(context.queue, "space") == before)
"""
    drawn, took = finished(body, WITH)
    assert drawn[0] is True and (took["decode"] or took["sample"])


def test_what_the_server_refuses_to_draw_leaves_the_context_as_it_was() -> None:
    body = """
try:
    await context.generate(stop=max_tokens(20), constraints=[adjust({model.vocab_size: 1.0})])
except ArgumentError as error:
    said.append(str(error))
context.fill_tokens([33, 34, 35])
said.append((await context.next_dist(4)).ids)
with model.create_context() as other:
    other.fill_tokens(context.tokens)
    said.append((await other.next_dist(4)).ids)
"""
    refused, after, anew, *_ = finished(body, WITH)[0]
    assert "outside the vocabulary" in refused and after == anew


@pytest.mark.parametrize("selection", [WITH, WITHOUT], ids=["with", "without"])
@pytest.mark.parametrize("stop", ["max_tokens(50)", "lambda tokens, text: len(tokens) == 50"])
def test_who_generates_in_a_context_that_is_closed_meanwhile_is_told_so_and_nothing_is_left(
    stop: str, selection: Selection
) -> None:
    body = f"""
before = debug_query(context.queue, "space")
for wait in (False, True):
    other = model.create_context()
    await other.fill("Well")
    try:
        if wait:  # for a call that is on its way
            waiting = asyncio.ensure_future(other.generate(stop={stop}))
            while not json.loads(debug_query(other.queue, "queue"))["outstanding"]:
                await asyncio.sleep(0)
            other.close()
            await waiting
        async for _ in other.stream(stop={stop}):
            other.close()
    except PieError as error:
        said.append(str(error))
said.append(debug_query(context.queue, "space") == before)
"""
    assert finished(body, selection)[0][:3] == ["this context was closed", "this context was closed", True]


def test_a_recited_answer_is_recited() -> None:
    body = "said.append(await context.generate())"
    assert finished(body, WITH, "It is a long way")[0] == finished(body, WITHOUT, "It is a long way")[0]


def test_what_the_server_cannot_draw_is_drawn_by_the_program() -> None:
    body = "said.append(await context.generate(typical(seed=3), max_tokens(4)))"
    assert "sample" not in finished(body, WITH)[1]


def test_up_to_the_end_of_the_models_range() -> None:
    body = """
context.fill_tokens([5] * (model.max_position - len(context.tokens) - 3))
said.append(await context.generate())
said.append(len(context.tokens) == model.max_position)
context.truncate(8)
"""
    drawn, _ = finished(body, WITH)
    assert drawn[1] is True and drawn == finished(body, WITHOUT)[0]
