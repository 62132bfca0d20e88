"""What programs get from `decode_guided`, what wrong calls are told, and masks that take long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest
from pie_traits_grammar import matching

from pie_core.plugins import Selection
from pie_core.registry import load_handlers, load_registry
from pie_core.testing import FakeBackend, fake_handlers, fake_model, run_inferlet
from pie_core.testing.run import Outcome

PROGRAM = """
from inferlet import *
import json

async def main():
    model = get_auto_model()
    q = model.create_queue()
    (emb, blank), pages = alloc_emb(q, 2), alloc_kvpage(q, 2)
    embed_txt(q, 65, 0, emb)
    forward(q, [], emb, pages, emb)
    m, other, bare = alloc_matcher(q, 3)
    set_grammar(q, m, "regex", "x[a-z]{2}[0-9]+")
    set_grammar(q, other, "regex", "x[a-z]{2}[0-9]+")
BODY
"""


def run(*bodies: str) -> list[Outcome]:
    """How programs end that run at the same time."""

    async def main() -> list[Outcome]:
        specs = [*fake_handlers(), *load_handlers("fake", "", Selection())]
        model = fake_model(FakeBackend(), load_registry(Selection()), specs)
        try:
            return await asyncio.gather(*(run_inferlet(program(body), models={"fake": model}) for body in bodies))
        finally:
            await asyncio.to_thread(model.close)

    return asyncio.run(main())


def program(body: str) -> str:
    return PROGRAM.replace("BODY", "\n".join(f"    {line}" for line in body.strip().splitlines()))


def said(bodies: Sequence[str]) -> list[object]:
    outcomes = run(*bodies)
    assert [outcome.ended.error for outcome in outcomes if outcome.ended.status != "finished"] == []
    return [json.loads(outcome.ended.value or "") for outcome in outcomes]


def test_many_tokens_come_by_one_call_and_the_matcher_follows() -> None:
    (found,) = said([
        """
told = await decode_guided(q, pages, emb, pages, emb, 3, m)
more = await decode_guided(q, pages, emb, pages, emb, 4, m, first=told.tokens[-1])
state = await rollback(q, m, 5)
return json.dumps([told.tokens, told.accepting, more.tokens, more.accepting, more.ended, state.tokens])
"""
    ])  # fmt: skip
    tokens, accepting, more, accepts, ended, left = found
    text = bytes(tokens + more).decode()
    assert (text[0], text[1:3].isalpha(), text[3:].isdigit(), len(text)) == ("x", True, True, 7)
    assert (accepting, accepts, ended, left) == (False, True, False, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("decode_guided(q, pages, emb, pages, emb, 2)", "decode_guided"),
        ("await decode_guided(q, pages, emb, pages, emb, 2, [])", "one matcher is wanted, got 0"),
        ("await decode_guided(q, pages, emb, pages, emb, 2, [m, other])", "one matcher is wanted, got 2"),
        ("await decode_guided(q, pages, emb, pages, emb, 2, bare)", "the matcher has no grammar; set_grammar first"),
        ("await decode_guided(q, pages, emb, pages, emb, 2, 99)", "99"),
        ("await decode_guided(q, pages, blank, pages, emb, 2, m)", "decode_guided: the Embed was never written"),
        ("await decode_guided(q, pages, emb, pages, emb, 40, m)", "`okv` has 31 free slots, 39 tokens are to be run"),
        ("await decode_guided(q, pages, emb, pages, emb, 2, m, adapter='x')", "has no adapter 'x'"),
        (
            "decode_guided(q, pages, emb, pages, emb, 2, m)\nawait advance(q, m, [97])",
            "await a decode that is to follow it",
        ),
        (
            "await advance(q, m, [*b'xab1', 256])\nawait decode_guided(q, pages, emb, pages, emb, 2, m)",
            "an end token was taken, and nothing follows one",
        ),
        (
            "set_grammar(q, bare, 'lark', 'start: other')\nawait decode_guided(q, pages, emb, pages, emb, 2, bare)",
            "skipped, because a set_grammar it depends on failed",
        ),
    ],
)
def test_a_wrong_call_is_told_what_is_wrong_and_another_program_is_none_the_worse(call: str, message: str) -> None:
    right = "return str(len((await decode_guided(q, pages, emb, pages, emb, 9, m)).tokens))"
    one, other = run(call, right)
    assert one.ended.status == "failed" and message in (one.ended.error or "")
    assert other.ended.value == "9"


def test_masks_that_take_long_are_made_beside_the_device_and_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [
        f"told = await decode_guided(q, pages, emb, pages, emb, 20, m, temperature=2.0, seed={seed})\n"
        "return json.dumps([told.tokens, (await rollback(q, m, 3)).tokens])"
        for seed in range(3)
    ]
    quick = said(bodies)
    monkeypatch.setattr(matching, "QUICK_S", -1.0)
    assert said(bodies) == quick
