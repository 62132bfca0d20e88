"""What programs get from `sample`, and what wrong calls are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from pie_traits_text.input_text import EmbedTxt

from pie_core import HandlerSpec
from pie_core.plugins import Selection
from pie_core.registry import load_handlers, load_registry
from pie_core.testing import FakeBackend, fake_handlers, fake_model, run_inferlet
from pie_core.testing.fake import FakeHandler
from pie_core.testing.run import Outcome

PROGRAM = """
from inferlet import *
import asyncio
import json

async def main():
    model = get_auto_model()
    q = model.create_queue()
    (emb, blank), pages = alloc_emb(q, 2), alloc_kvpage(q, 2)
    embed_txt(q, 65, 0, emb)
    forward(q, [], emb, pages, emb)
BODY
"""


def run(body: str, handlers: Sequence[HandlerSpec] = ()) -> Outcome:
    async def main() -> Outcome:
        specs = [*(handlers or fake_handlers()), *load_handlers("fake", "", Selection())]
        model = fake_model(FakeBackend(answer="abcdefgh"), load_registry(Selection()), specs)
        try:
            lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
            return await run_inferlet(PROGRAM.replace("BODY", lines), models={"fake": model})
        finally:
            await asyncio.to_thread(model.close)

    return asyncio.run(main())


def test_a_program_decodes_with_two_calls_a_token() -> None:
    outcome = run("""
drawn = []
for _ in range(4):
    drawn.append(sample(q, emb, emb))
    forward(q, pages, emb, pages, emb)
return json.dumps([await token for token in drawn])
""")
    assert bytes(json.loads(outcome.ended.value or "")) == b"bcde"


def test_many_tokens_come_by_one_call() -> None:
    outcome = run("""
drawn = await decode(q, pages, emb, pages, emb, 4)
drawn += await decode(q, pages, emb, pages, emb, 9, drawn[-1], breaks=["xh", "A"])
return json.dumps(drawn)
""")
    assert bytes(json.loads(outcome.ended.value or "")) == b"bcdefgh"


def test_a_program_is_told_of_tokens_as_they_come_and_has_no_more_drawn() -> None:
    """How many come before it says so is the server's affair; they are those of the result."""
    outcome = run("""
ticket, seen = decode(q, pages, emb, pages, emb, 31), []
while len(seen) < 3 and not ticket.done:
    seen += drawn(q, emb, len(seen))
    await asyncio.sleep(0)
end_decode(q, emb)
end_decode(q, emb)
result = await ticket
return json.dumps([seen, result, drawn(q, emb)])
""")
    seen, result, rest = json.loads(outcome.ended.value or "")
    assert bytes(result[:7]) == b"bcdefgh"[: len(result)] and seen == result[: len(seen)] and rest == []


def test_the_embedding_is_made_for_the_place_where_the_token_goes() -> None:
    """Whatever the books say by then: the pass behind the draw, enqueued already, has moved the Embed on."""
    made: list[tuple[int, int]] = []

    class Recording(FakeHandler):
        def embed_txt(self, batch: Sequence[EmbedTxt]) -> None:
            made.extend(pair for command in batch for pair in zip(command.tok, command.pos, strict=True))
            super().embed_txt(batch)

    handlers = [replace(spec, build=Recording) for spec in fake_handlers()]
    run(
        "for _ in range(3):\n    sample(q, emb, emb)\n    forward(q, pages, emb, pages, emb)\nawait synchronize(q)",
        handlers,
    )
    assert made == [(65, 0), (ord("b"), 1), (ord("c"), 2), (ord("d"), 3)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("await sample(q, blank, [])", "the Embed was never written"),
        ("await sample(q, [], [])", "one Embed to read, and one or none to write, are wanted; got 0 and 0"),
        ("await sample(q, emb, [emb, blank])", "got 1 and 2"),
        ("await sample(q, emb, emb, temperature=-1)", "temperature >= 0, 0 < top_p <= 1 and 0 <= min_p <= 1"),
        ("await sample(q, emb, emb, top_p=0.0)", "temperature >= 0, 0 < top_p <= 1 and 0 <= min_p <= 1"),
        ("await sample(q, emb, emb, top_k=0)", "top_k is 0"),
        ("await decode(q, pages, blank, pages, emb, 2)", "the Embed was never written"),
        ("await decode(q, pages, emb, pages, emb, 1025)", "`most` is 1025; 1 to 1024 tokens can be drawn"),
        ("await decode(q, pages, emb, pages, emb, 40)", "`okv` has 31 free slots, 39 tokens are to be run"),
        ("await decode(q, pages, emb, pages, emb, 2, adapter='x')", "has no adapter 'x'"),
        ("await decode(q, pages, emb, pages, emb, 2, biased=[1])", "1 tokens are biased, by 0 numbers"),
        (
            "decode(q, pages, emb, pages, emb, 9)\ncopy_kvpage(q, alloc_kvpage(q, 1), pages[:1], 0, 5, 2)",
            "a command that still runs fills the destination slots",
        ),
        ("decode(q, pages, emb, pages, emb, 2)\nawait get_next_dist(q, emb)", "the Embed was never written"),
        ("drawn(q, [])", "drawn: one Embed is wanted, got 0"),
        ("end_decode(q, [emb, blank])", "end_decode: one Embed is wanted, got 2"),
        ("await sample(q, emb, emb, seed=-1)", "-1 is outside 0..18446744073709551615"),
    ],
)
def test_a_wrong_call_is_told_what_is_wrong(call: str, message: str) -> None:
    ended = run(call).ended
    assert ended.status == "failed" and message in (ended.error or "")
