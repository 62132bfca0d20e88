"""Texts that no model has to think of: stop strings, characters of many bytes and calls of tools, cut anywhere."""

from __future__ import annotations

import json

import pytest

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("look_up", "clock")]
ONE = '<tool_call>\n{"name": "look_up", "arguments": {"key": "</é>"}}\n</tool_call>'
TWO = '<tool_call>{"name": "clock"}</tool_call>'


def ask(server, answer, streamed=False, **more):
    """What is said if the model recites exactly `answer`: where it starts depends on the length of the prompt."""

    def asked(padding):
        question = [{"role": "user", "content": "x" * padding}]
        return {"model": "fake", "messages": question, "temperature": 0, "max_tokens": 400} | more

    server.recite(answer)
    with server.client as client:
        first = client.chat.completions.create(**asked(1) | {"max_tokens": 1, "stop": None})
        padding = 1 + -first.usage.prompt_tokens % (len(answer.encode()) + 1)
        if not streamed:
            return client.chat.completions.create(**asked(padding)).choices[0], None
        with client.chat.completions.stream(**asked(padding)) as stream:
            pieces = [e.chunk.choices[0].delta.content or "" for e in stream if e.type == "chunk"]
            return stream.get_final_completion().choices[0], pieces


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("answer", "content", "calls"),
    [
        (f"I look.{ONE}", "I look.", [("look_up", {"key": "</é>"})]),
        (f"{TWO}\n{ONE}\n", None, [("clock", {}), ("look_up", {"key": "</é>"})]),
        (ONE.removesuffix("</tool_call>"), None, [("look_up", {"key": "</é>"})]),
        ("No call: <tool_cal", "No call: <tool_cal", []),
        ("<tool_call>{no JSON}</tool_call> oh", "<tool_call>{no JSON}</tool_call> oh", []),
        ("<tool_call>[1]</tool_call>", "<tool_call>[1]</tool_call>", []),
        ("<tool_call>" * 3, "<tool_call>" * 3, []),
    ],
)
def test_calls_are_told_from_text(reciter, answer, content, calls, streamed):
    choice, pieces = ask(reciter, answer, streamed, tools=TOOLS)
    told = [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or []]
    assert told == calls
    assert (choice.message.content or None) == content
    assert choice.finish_reason == ("tool_calls" if calls else "stop")
    assert len({call.id for call in choice.message.tool_calls or []}) == len(calls)
    assert pieces is None or not any("<tool_call>{" in piece for piece in pieces if calls)


@pytest.mark.parametrize("streamed", [False, True])
def test_without_tools_a_call_is_text(reciter, streamed):
    for more in ({}, {"tools": TOOLS, "tool_choice": "none"}):
        choice, _ = ask(reciter, ONE, streamed, **more)
        assert (choice.message.content, choice.message.tool_calls) == (ONE, None)


TEXT = "aab→aabc→ end"


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        ("aabc", "aab→"),
        ("→", "aab"),
        (["→a", "c→"], "aab"),
        (["c→", "bc"], "aab→aa"),
        ("a", ""),
        (["aac", "nd", "x"], "aab→aabc→ e"),
        ("endless", TEXT),
    ],
)
def test_what_may_become_a_stop_string_is_held_back(reciter, stop, expected):
    whole, _ = ask(reciter, TEXT, stop=stop)
    choice, pieces = ask(reciter, TEXT, True, stop=stop)
    judged, _ = ask(reciter, TEXT, stop=stop, logprobs=True)
    assert whole.message.content == choice.message.content == "".join(pieces) == expected
    assert all("\N{REPLACEMENT CHARACTER}" not in piece for piece in pieces)
    assert bytes(byte for entry in judged.logprobs.content for byte in entry.bytes).decode() == expected
