"""Answers under a grammar are the same whether the server or the program draws them, and are sentences of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import jsonschema
import lark
import pytest
from pie_traits_decode.testing.answering import Answering, program
from pie_traits_grammar.matcher import Matcher

from pie_core.application.events import Ended
from pie_core.plugins import Selection

WITH = Selection()
LOOP = Selection(without=("traits.decode_guided",))
BARE = Selection(without=("traits.decode",))
NESTED = 'start: "(" start ")" | item ("," item)*\nitem: /[a-e]{1,3}/ | "[" /[0-9]+/ "]"'
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[A-Z][a-z]{2,5}$"}, "ok": {"type": "boolean"}},
    "required": ["name", "ok"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False},
}
PATTERN = "[A-C]{2,4}(-[0-9]{1,3}){1,2}[.!]"
HEAD = f"NESTED, SCHEMA, PATTERN = {(NESTED, json.dumps(SCHEMA), PATTERN)!r}"


class Served(Answering):
    """Runs programs given by their bodies."""

    def run(self, programs: Sequence[str]) -> list[Ended]:
        return super().run([program(body, HEAD) for body in programs])


@pytest.fixture(scope="module")
def served() -> Iterator[dict[Selection, Served]]:
    models = {selection: Served(selection) for selection in (WITH, LOOP, BARE)}
    yield models
    for model in models.values():
        model.close()


SAMPLERS = ("greedy()", "sampling(seed=5)", "sampling(temperature=2.5, top_k=9, top_p=0.9, min_p=0.01, seed=-1)")
BODIES = {
    "a whole sentence": "said.append(await context.generate(SAMPLER, max_tokens(90), [Grammar('lark', NESTED)]))",
    "cut off": "said.append(await context.generate(SAMPLER, max_tokens(5), [Grammar('json_schema', SCHEMA)]))",
    "no token": "said.append(await context.generate(SAMPLER, max_tokens(0), [Grammar('regex', PATTERN)]))",
    "a bound and a string": """
said.append(await context.generate_until(40, stop=[',', '-'], sampler=SAMPLER, constraints=[Grammar('lark', NESTED)]))
""",
    "a condition that nobody can foresee": """
said.append(await context.generate(SAMPLER, lambda t, s: len(t) == 4, [Grammar('regex', PATTERN)]))
""",
    "whether it is whole": """
for most in (1, 3, 9, 40):
    grammar = Grammar('regex', 'x[ab]+|[c-f]{2}[ab]*')
    said.append([await context.generate(SAMPLER, max_tokens(most), [grammar]), grammar.whole])
""",
    "one sampler and one grammar twice": """
sampler, grammar = SAMPLER, Grammar('lark', NESTED)
for _ in range(2):
    said.append([await context.generate(sampler, max_tokens(60), [grammar]), grammar.whole])
""",
    "biases": """
said.append(await context.generate(SAMPLER, max_tokens(60), [adjust({40: 2.0, 97: -1.0}), Grammar('lark', NESTED)]))
""",
    "penalties": """
for _ in range(2):
    said.append(await context.generate(
        SAMPLER, max_tokens(60), [Grammar('lark', NESTED), adjust(presence=0.5, frequency=0.25)]
    ))
""",
    "penalties, and a condition that nobody can foresee": """
said.append(await context.generate(
    SAMPLER, lambda t, s: len(t) == 7, [adjust(frequency=0.5), Grammar('lark', NESTED)]
))
""",
    "a constraint that only the program knows": """
def odd(dist, answer):
    pairs = [(t, p) for t, p in zip(dist.ids, dist.probs) if t % 2] or list(zip(dist.ids, dist.probs))
    return Dist([t for t, _ in pairs], [p for _, p in pairs])
said.append(await context.generate(SAMPLER, max_tokens(40), [Grammar('lark', NESTED), odd]))
""",
    "pieces": """
async for piece in context.stream(SAMPLER, max_tokens(60), [Grammar('json_schema', SCHEMA)]):
    said.append(piece)
""",
    "a fork in the middle": """
async for piece in context.stream(SAMPLER, max_tokens(20), [Grammar('lark', NESTED)]):
    with context.fork() as branch:
        said.append([piece, (await branch.next_dist(3)).ids])
""",
    "a cut in the middle": """
async for piece in context.stream(SAMPLER, max_tokens(20), [Grammar('json_schema', SCHEMA)]):
    said.append(piece)
    if len(context.tokens) == 17:
        context.truncate(12)
""",
    "words put in between": """
async for piece in context.stream(SAMPLER, max_tokens(9), [Grammar('json_schema', SCHEMA)]):
    said.append(piece)
    context.fill_tokens([33])
""",
    "an early end": """
async for piece in context.stream(SAMPLER, constraints=[Grammar('lark', NESTED)]):
    said.append(piece)
    if len(said) == 4:
        break
""",
    "a cancelled wait": """
sampler = SAMPLER
for _ in range(3):
    waiting = asyncio.ensure_future(context.generate(sampler, max_tokens(1), [Grammar('lark', NESTED)]))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    said.append(await context.generate(sampler, max_tokens(4), [Grammar('regex', PATTERN)]))
""",
    "an export in the middle": """
async for piece in context.stream(SAMPLER, max_tokens(9), [Grammar('json_schema', SCHEMA)]):
    context.export('it')
    with Context.open(model, 'it', context.tokens) as again:
        said.append([piece, (await again.next_dist(3)).ids])
    release_kvpage('it')
""",
    "several at once, each under a grammar of its own": """
with context.fork() as other, context.fork() as third:
    said += await asyncio.gather(
        context.generate(SAMPLER, max_tokens(40), [Grammar('lark', NESTED)]),
        other.generate(SAMPLER, max_tokens(40), [Grammar('regex', PATTERN)]),
        third.generate(SAMPLER, max_tokens(20)),
    )
""",
    "somebody else looks at the context all the while": """
async def look():
    for _ in range(20):
        with context.fork() as branch:
            await branch.next_dist(3)
texts = await asyncio.gather(
    context.generate(SAMPLER, max_tokens(40), [Grammar('json_schema', SCHEMA)]), look()
)
said.append(texts[0])
""",
    "an adapter": """
with model.create_context("loud") as other:
    await other.fill("What is it?")
    said.append(await other.generate(SAMPLER, max_tokens(40), [Grammar('lark', NESTED)]))
    said.append((await other.next_dist(4)).ids)
""",
    "masks in the middle": """
async for piece in context.stream(SAMPLER, max_tokens(12), [Grammar('json_schema', SCHEMA)]):
    said.append(piece)
    context.mask([len(context.tokens) - 3])
""",
    "another pattern of attention in the middle": """
async for piece in context.stream(SAMPLER, max_tokens(12), [Grammar('json_schema', SCHEMA)]):
    said.append(piece)
    if len(said) == 5:
        context.attention = lambda at: [range(max(0, at - 3), at)]
    if len(said) == 9:
        context.attention = None
""",
    "a sampler that the server does not know": """
said.append(await context.generate(typical(seed=3), max_tokens(40), [Grammar('lark', NESTED)]))
""",
    "another answer behind the first": """
for syntax, text in (('regex', PATTERN), ('json_schema', SCHEMA), ('lark', NESTED)):
    said.append(await context.generate(SAMPLER, max_tokens(40), [Grammar(syntax, text)]))
""",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_program_gets_the_same_with_and_without(served: dict[Selection, Served], body: str) -> None:
    """Three programs at the same time, each with another sampler."""
    bodies = [body.replace("SAMPLER", sampler).replace("'it'", f"'{at}'") for at, sampler in enumerate(SAMPLERS)]
    assert served[WITH].finished(*bodies) == served[LOOP].finished(*bodies) == served[BARE].finished(*bodies)


@pytest.mark.parametrize("seed", range(4))
def test_what_comes_out_is_read_by_parsers_of_other_peoples(served: dict[Selection, Served], seed: int) -> None:
    """With what is forced in passes of its own, and without."""
    said, took = [], []
    for drafts in (16, 0):
        before = served[WITH].counts()
        said += served[WITH].finished(
            f"""
for syntax, text in (('lark', NESTED), ('json_schema', SCHEMA), ('regex', PATTERN)):
    grammar = Grammar(syntax, text, {drafts})
    text = await context.generate(sampling(temperature=3.0, seed={seed}), max_tokens(400), [grammar])
    assert grammar.whole
    said.append(text)
"""
        )
        took.append(served[WITH].counts() - before)
    assert said[0] == said[1]
    assert "get_next_dist_masked" not in took[1] and "advance" not in took[1] and took[1]["decode"]
    nested, schema, pattern, *_ = said[0]
    assert lark.Lark(NESTED).parse(nested)
    jsonschema.validate(json.loads(schema), SCHEMA)
    assert re.fullmatch(PATTERN, pattern)


def test_text_that_is_forced_takes_one_pass(served: dict[Selection, Served]) -> None:
    said, took = [], []
    for drafts in (16, 4, 0):
        before = served[WITH].counts()
        grammar = f"Grammar('regex', 'a[b-z]the same old song[0-9]{{3}}, and again the very same', {drafts})"
        said += served[WITH].finished(f"said.append(await context.generate(sampling(seed=3), constraints=[{grammar}]))")
        took.append(served[WITH].counts() - before)
    assert said[0] == said[1] == said[2] and len(said[0][0]) == 47
    assert [took[0]["passes"] < 15, took[1]["passes"] < 30, took[2]["passes"] > 45] == [True, True, True]


@pytest.mark.parametrize("drafts", [16, 0])
def test_text_that_is_forced_behind_no_token_is_an_error_as_any_text_is(
    served: dict[Selection, Served], drafts: int
) -> None:
    body = f"""
model.bos_token = 7  # which a context begins with, but only one that something is filled into
grammar = Grammar('regex', 'what is it then', {drafts})
with model.create_context() as empty:
    try:
        await empty.generate(constraints=[grammar])
    except ArgumentError as error:
        said.append(str(error))
    empty.fill_tokens([5])
    said.append([empty.tokens, (await empty.next_dist(4)).ids])
with model.create_context() as other:
    other.fill_tokens([5])
    said.append([other.tokens, (await other.next_dist(4)).ids])
"""
    (said,) = served[WITH].finished(body)
    assert "the context is empty" in said[0] and said[1] == said[2]


def test_a_sentence_takes_one_call_and_no_pass_in_vain(served: dict[Selection, Served]) -> None:
    """It ends where nothing may follow, without asking for the end token."""
    body = "said.append(await context.generate(constraints=[Grammar('regex', 'abc[d-f]{5}')]))"
    said, took = [], []
    for selection in (WITH, LOOP):
        before = served[selection].counts()
        said += served[selection].finished(body)
        took.append(served[selection].counts() - before)
    assert said[0] == said[1] and re.fullmatch("abc[d-f]{5}", said[0][0])
    assert took[0]["passes"] == took[1]["passes"]
    assert took[0]["decode"] == 1 and took[1]["advance"] == 8


def test_where_there_is_room_for_few_tokens_so_many_are_drawn_as_fit() -> None:
    body = """
async for piece in context.stream(constraints=[Grammar('regex', '[a-z]{20}')]):
    said.append(piece)
    if len(said) == 9:
        break
context.truncate(8)
"""
    narrow = [Served(selection, pages=5) for selection in (WITH, LOOP)]
    said = [model.finished(body) for model in narrow]
    assert said[0] == said[1]
    assert narrow[0].counts()["decode"] == 4  # of 1, 2, 4 and 2 tokens: see the same test of `decode`
    for model in narrow:
        model.close()


@pytest.mark.parametrize("selection", [WITH, LOOP], ids=["with", "without"])
def test_what_no_grammar_can_be_is_told_and_leaves_the_context_as_it_was(
    served: dict[Selection, Served], selection: Selection
) -> None:
    (said,) = served[selection].finished(
        """
before = list(context.tokens)
for grammar in (Grammar('regex', r'[^\\s\\S]'), Grammar('lark', 'start: other'), Grammar('ebnf', '')):
    try:
        await context.generate(constraints=[grammar])
    except ArgumentError as error:
        said.append(str(error))
try:
    await context.generate(constraints=[Grammar('regex', 'a'), Grammar('regex', 'b')])
except ArgumentError as error:
    said.append(str(error))
said.append(before == context.tokens)
for _ in range(40):  # more than there may be matchers at a time
    await context.generate(constraints=[Grammar('regex', 'a')])
"""
    )
    assert "no token can follow the 0 taken" in said[0] and 'unknown name: "other"' in said[1]
    assert "no syntax 'ebnf'" in said[2] and "an answer follows one grammar" in said[3] and said[4] is True


def test_all_is_free_when_a_program_ends_in_the_middle_and_others_go_on(served: dict[Selection, Served]) -> None:
    lost = """
waiting = asyncio.ensure_future(context.generate(constraints=[Grammar('regex', '[a-z]{900}')]))
while 'decode_guided' not in json.loads(debug_query(context.queue, 'queue'))['outstanding']:  # until it is on its way
    await sleep(0)
raise ValueError("lost")
"""
    whole = "said.append(await context.generate(constraints=[Grammar('regex', '[a-z]{300}')]))"
    one, other = served[WITH].run([lost, whole])
    assert "ValueError: lost" in (one.error or "") and Matcher in served[WITH].model.layer.pools
    assert re.fullmatch("[a-z]{300}", json.loads(other.value or "")[0])
