"""What programs get from the calls, and what wrong ones are told; that nothing of a grammar outlives its inferlet."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from typing import Any

import pytest
from pie_traits_grammar import matching
from pie_traits_grammar.matcher import Matcher

from pie_core.application.wasm.wit import package_of
from pie_core.loaded import LoadedModel
from pie_core.plugins import Selection
from pie_core.registry import load_handlers, load_registry
from pie_core.testing import FakeBackend, fake_handlers, fake_model, run_inferlet
from pie_core.testing.run import Outcome

START = """
from inferlet import *
import json

async def place():
    q = get_auto_model().create_queue()
    emb, (page,) = alloc_emb(q, 1), alloc_kvpage(q, 1)
    embed_txt(q, 65, 0, emb)
    forward(q, [], emb, page, emb)
    return q, emb

"""


def run(*sources: str, check: Any = lambda model: None) -> list[Outcome]:
    """Run programs at the same time, on one model. check: called with the model when all is over."""

    async def main() -> list[Outcome]:
        specs = [*fake_handlers(), *load_handlers("fake", "", Selection())]
        model = fake_model(FakeBackend(), load_registry(Selection()), specs)
        try:
            programs = [START + source for source in sources]
            outcomes = await asyncio.gather(*(run_inferlet(program, models={"fake": model}) for program in programs))
        finally:
            await asyncio.to_thread(model.close)  # what is at work on the host ends first
        check(model)
        return list(outcomes)

    return asyncio.run(main())


def finished(source: str, **options: Any) -> Any:
    """What a program returned."""
    (outcome,) = run(source, **options)
    assert outcome.ended.status == "finished", outcome.ended.error
    return json.loads(outcome.ended.value or "null")


def test_a_program_follows_a_grammar_with_every_call() -> None:
    said = finished("""
async def main():
    q, emb = await place()
    (matcher, other) = alloc_matcher(q, 2)
    state = await set_grammar(q, matcher, "lark", 'start: "ab" ("c" | "d")*')
    said = [[state.tokens, state.accepting, state.ended, state.forced.decode()]]
    said.append((await get_next_dist_masked(q, emb, matcher)).ids)
    state = await advance(q, matcher, [97, 98])
    said.append([state.tokens, state.accepting, state.ended, state.forced.decode()])
    said.append(sorted((await get_next_dist_masked(q, emb, matcher, top_k=None)).ids))
    said.append(await count_allowed(q, matcher, list(b"cdcx")))
    copy_matcher(q, matcher, other)
    advance(q, other, list(b"cc"))
    said.append((await rollback(q, other, 3)).tokens)
    said.append((await get_next_dist_masked(q, emb, other, 1)).probs)
    dealloc_matcher(q, [matcher, other])
    return json.dumps(said)
""")
    assert said == [[0, False, False, "ab"], [97], [2, True, False, ""], [99, 100, 256], 3, 1, [1.0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("alloc_matcher(q, 33)", "33 matchers asked for, 2 held: over the 32 that one inferlet may hold"),
        ("dealloc_matcher(q, [m, m])", "a handle is named twice"),
        ("await set_grammar(q, m, 'ebnf', 'start: X')", "no syntax 'ebnf'"),
        ("await set_grammar(q, m, 'regex', 'x' * 70000)", "a grammar of 70000 bytes; at most 65536 are taken"),
        ("await set_grammar(q, m, 'lark', 'start: other')", 'the lark cannot be used: at 1(8): unknown name: "other"'),
        ("await set_grammar(q, m, 'regex', r'[^\\s\\S]')", "no token can follow the 0 taken"),
        ("await set_grammar(q, m, 'json_schema', '{')", "the schema is no JSON"),
        ("await advance(q, m, [98])", "the grammar does not allow token 98 ('b'), number 0 of 1"),
        ("await advance(q, m, [97] * 2000)", "2000 tokens at once; at most 1024"),
        ("await advance(q, blank, [97])", "the matcher has no grammar; set_grammar first"),
        ("await count_allowed(q, m, [257])", "token 257 is outside the vocabulary of 257"),
        ("await rollback(q, m, 1)", "1 tokens to take back, 0 were taken"),
        ("await copy_matcher(q, m, m)", "source and destination are one matcher"),
        ("await get_next_dist_masked(q, emb, blank)", "the matcher has no grammar"),
        ("await get_next_dist_masked(q, emb, m, 0)", "top_k is 0"),
    ],
)
def test_a_wrong_call_is_told_what_is_wrong_and_another_program_is_none_the_worse(call: str, message: str) -> None:
    source = """
async def main():
    q, emb = await place()
    m, blank = alloc_matcher(q, 2)
    await set_grammar(q, m, "regex", "a+")
    CALL
"""
    wrong, right = run(
        source.replace("CALL", call), source.replace("CALL", "return str((await advance(q, m, 97)).tokens)")
    )
    assert wrong.ended.status == "failed" and message in (wrong.ended.error or "")
    assert right.ended.value == "1"


def test_a_grammar_that_would_bring_the_compiler_down_is_an_error_of_its_program_alone() -> None:
    bomb = """
async def main():
    q, emb = await place()
    m = alloc_matcher(q, 1)
    rules = "\\n".join(f"r{n}: r{n + 1} r{n + 1}" for n in range(3000))
    await set_grammar(q, m, "lark", f'start: r0\\n{rules}\\nr3000: "a"?')
"""
    victim = """
async def main():
    q, emb = await place()
    m = alloc_matcher(q, 1)
    await set_grammar(q, m, "regex", "a+")
    for _ in range(50):
        await advance(q, m, [97])
    return "50"
"""
    attacker, other = run(bomb, victim)
    assert "brings llguidance down" in (attacker.ended.error or "")
    assert other.ended.value == "50"


def test_all_of_it_is_free_when_the_inferlet_ends_however_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    places: weakref.WeakSet[matching.Place] = weakref.WeakSet()
    plain = matching.Place.__init__

    def noted(self: matching.Place, *arguments: Any) -> None:
        plain(self, *arguments)
        places.add(self)

    monkeypatch.setattr(matching.Place, "__init__", noted)

    def check(model: LoadedModel) -> None:
        pool = model.layer.pools[Matcher]
        assert pool.free == pool.capacity
        gc.collect()
        assert len(places) == 0

    source = """
async def main():
    q, emb = await place()
    for m in alloc_matcher(q, 32):
        await set_grammar(q, m, "regex", "a+")
    {}
"""
    ends = ["return", "raise ValueError", "await advance(q, m, [98])", "advance(q, m, [97] * 1000)"]
    run(*(source.format(end) for end in ends), check=check)


def test_it_has_an_interface_in_wit() -> None:
    text = package_of(load_registry(Selection()).traits["grammar"]).text
    assert "get-next-dist-masked: func(q: u32, emb: list<u32>, matcher: list<u32>, top-k: option<u32>)" in text
    assert "record matcher-state" in text
