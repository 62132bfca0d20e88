"""What programs get from `sample`, and what wrong calls are told."""

from __future__ import annotations

import asyncio
import json

import pytest

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
BODY
"""


def run(body: str) -> Outcome:
    async def main() -> Outcome:
        specs = [*fake_handlers(), *load_handlers("fake", "", Selection())]
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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("await sample(q, blank, [])", "the Embed was never written"),
        ("await sample(q, [], [])", "one Embed to read, and one or none to write, are wanted; got 0 and 0"),
        ("await sample(q, emb, [emb, blank])", "got 1 and 2"),
        ("await sample(q, emb, emb, temperature=-1)", "temperature >= 0, 0 < top_p <= 1 and 0 <= min_p <= 1"),
        ("await sample(q, emb, emb, top_p=0.0)", "temperature >= 0, 0 < top_p <= 1 and 0 <= min_p <= 1"),
        ("await sample(q, emb, emb, top_k=0)", "top_k is 0"),
        ("await sample(q, emb, emb, seed=-1)", "-1 is outside 0..18446744073709551615"),
    ],
)
def test_a_wrong_call_is_told_what_is_wrong(call: str, message: str) -> None:
    ended = run(call).ended
    assert ended.status == "failed" and message in (ended.error or "")
