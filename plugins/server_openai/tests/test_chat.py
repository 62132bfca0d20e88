"""Chats: the model's template, JSON, tools, log probabilities, streams."""

from __future__ import annotations

import json

import jsonschema
import pytest
from inferlet import render_chat
from pie_server_openai import requests as r
from pie_server_openai.tools import conversation

QUESTION = [{"role": "user", "content": "What is the capital of Italy?"}]
LOOKUP = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Finds <things> & more.",
        "parameters": {
            "type": "object",
            "properties": {"kind": {"enum": ["city", "country"]}, "exact": {"type": "boolean"}},
            "required": ["kind", "exact"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}


def parts(text):
    return [{"type": "text", "text": text[:5]}, {"type": "text", "text": text[5:]}]


@pytest.mark.parametrize(
    "messages",
    [
        QUESTION,
        [{"role": "system", "content": "Be short."}, *QUESTION],
        [*QUESTION, {"role": "assistant", "content": "Rome."}, {"role": "user", "content": "And of Spain?"}],
    ],
)
def test_an_answer_is_that_of_transformers_in_the_models_template(openai, reference, messages):
    prompt = reference.chat(messages)
    expected = reference.greedy(prompt, 40)
    given = openai.chat.completions.create(model="pico", messages=messages, temperature=0, max_completion_tokens=40)
    (choice,) = given.choices
    assert choice.message.content == reference.text(expected)
    assert choice.finish_reason == ("stop" if expected[-1] == reference.end else "length")
    assert (given.usage.prompt_tokens, given.usage.completion_tokens) == (len(prompt), len(expected))


def test_roles_and_forms_of_content_that_mean_the_same_give_the_same(openai):
    def ask(*messages):
        return openai.chat.completions.create(model="pico", messages=messages, temperature=0, max_tokens=20)

    system, user = "Answer in one word.", QUESTION[0]["content"]
    plain = ask({"role": "system", "content": system}, {"role": "user", "content": user})
    newer = ask({"role": "developer", "content": parts(system)}, {"role": "user", "content": parts(user)})
    assert newer.choices[0].message.content == plain.choices[0].message.content
    assert newer.usage == plain.usage


def test_an_answer_can_be_given_back_as_the_client_has_it(openai):
    first = openai.chat.completions.create(model="pico", messages=QUESTION, temperature=0, max_tokens=20)
    history = [*QUESTION, first.choices[0].message.model_dump(), {"role": "user", "content": "Why?"}]
    assert openai.chat.completions.create(model="pico", messages=history, max_tokens=5).choices[0].message.role


def test_a_streamed_chat_begins_with_the_role_and_adds_up(openai):
    asked = {"model": "pico", "messages": QUESTION, "temperature": 0, "max_tokens": 30, "logprobs": True}
    whole = openai.chat.completions.create(**asked)
    with openai.chat.completions.stream(**asked) as stream:
        events = [event.chunk for event in stream if event.type == "chunk"]
        final = stream.get_final_completion()
    first = events[0].choices[0].delta
    assert (first.role, first.content) == ("assistant", "")
    assert final.choices[0].message.content == whole.choices[0].message.content
    assert final.choices[0].finish_reason == whole.choices[0].finish_reason
    assert final.choices[0].logprobs == whole.choices[0].logprobs
    assert len(events) > 4


def test_log_probabilities_are_those_of_transformers(openai, reference):
    prompt = reference.chat(QUESTION)
    tokens = [token for token in reference.greedy(prompt, 12) if token != reference.end]
    expected = reference.logprobs(prompt + tokens)[len(prompt) - 1 :]
    told = openai.chat.completions.create(
        model="pico", messages=QUESTION, temperature=0, max_tokens=len(tokens), logprobs=True, top_logprobs=2
    )
    content = told.choices[0].logprobs.content
    assert bytes(byte for entry in content for byte in entry.bytes).decode() == reference.text(tokens)
    for at, (token, entry) in enumerate(zip(tokens, content, strict=True)):
        assert entry.logprob == pytest.approx(expected[at, token].item(), abs=2e-3)
        assert [top.logprob for top in entry.top_logprobs] == pytest.approx(
            expected[at].topk(2).values.tolist(), abs=2e-2, rel=2e-2
        )
        assert entry.top_logprobs[0].token == entry.token


SCHEMA = {
    "type": "object",
    "properties": {
        "unit": {"enum": ["metre", "mile"]},
        "sizes": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "maxItems": 3},
    },
    "required": ["unit", "sizes"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_an_answer_follows_its_schema_whatever_is_asked(openai, temperature):
    wanted = {"type": "json_schema", "json_schema": {"name": "sizes", "schema": SCHEMA, "strict": True}}
    given = openai.chat.completions.create(
        model="pico", messages=QUESTION, temperature=temperature, seed=1, n=2, response_format=wanted, max_tokens=80
    )
    for choice in given.choices:
        assert choice.finish_reason == "stop"
        jsonschema.validate(json.loads(choice.message.content), SCHEMA)


def test_json_mode_gives_an_object(openai):
    given = openai.chat.completions.create(
        model="pico", messages=QUESTION, temperature=0, response_format={"type": "json_object"}, max_tokens=300
    )
    assert given.choices[0].finish_reason == "length" or isinstance(json.loads(given.choices[0].message.content), dict)
    assert given.choices[0].message.content.startswith("{")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "look_up"}}])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_call_that_must_be_made_fits_its_function(openai, choice, streamed):
    asked = {
        "model": "pico",
        "messages": QUESTION,
        "temperature": 0,
        "tools": [LOOKUP],
        "tool_choice": choice,
        "max_tokens": 80,
    }
    if streamed:
        with openai.chat.completions.stream(**asked) as stream:
            given = stream.get_final_completion()
    else:
        given = openai.chat.completions.create(**asked)
    (answer,) = given.choices
    (call,) = answer.message.tool_calls
    assert (call.type, call.function.name, answer.finish_reason) == ("function", "look_up", "tool_calls")
    jsonschema.validate(json.loads(call.function.arguments), LOOKUP["function"]["parameters"])
    assert not answer.message.content


def test_with_a_format_and_tools_an_answer_follows_its_schema_or_is_a_call_that_fits(openai, reference):
    wanted = {"type": "json_schema", "json_schema": {"name": "sizes", "schema": SCHEMA, "strict": True}}
    asked = {"model": "pico", "messages": QUESTION, "tools": [LOOKUP], "response_format": wanted, "max_tokens": 200}
    (mark,) = reference.encode("<")
    for inclined, reasons in ((-100, {"stop"}), (0, {"stop", "tool_calls"}), (100, {"tool_calls"})):
        bias = {str(mark): inclined} if inclined else None
        given = openai.chat.completions.create(**asked, temperature=2.0, seed=1, n=4, logit_bias=bias)
        for choice in given.choices:
            assert choice.finish_reason in reasons
            if choice.finish_reason == "stop":
                jsonschema.validate(json.loads(choice.message.content), SCHEMA)
            for call in choice.message.tool_calls or []:
                jsonschema.validate(json.loads(call.function.arguments), LOOKUP["function"]["parameters"])
    must = openai.chat.completions.create(**asked, tool_choice="required", temperature=0)
    assert must.choices[0].finish_reason == "tool_calls" and not must.choices[0].message.content


def test_calls_and_their_results_can_be_given_back(openai):
    call = {"id": "call-1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    history = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call-1", "content": "12:30"},
    ]
    given = openai.chat.completions.create(model="pico", messages=history, tools=[CLOCK], temperature=0, max_tokens=10)
    assert given.usage.completion_tokens > 0


TEMPLATE = """{%- if tools %}<tools>{% for tool in tools %}{{ tool | tojson }}
{% endfor %}</tools>{% endif %}
{%- for message in messages %}
    {%- if message.role == 'skip' %}{% continue %}{% endif %}
    <|{{ message.role }}|>{{ message.content }}
    {%- for call in message.tool_calls or [] %}
    [{{ call.function.name }} {{ call.function.arguments | tojson }}]
    {%- endfor %}
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""


def test_a_template_that_knows_tools_gets_them_as_transformers_gives_them(reference):
    call = {"id": "call-1", "type": "function", "function": {"name": "clock", "arguments": {"zone": "<é>"}}}
    messages = [
        *QUESTION,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "12:30", "tool_call_id": "call-1"},
    ]
    expected = reference.tokenizer.apply_chat_template(
        messages, tools=[LOOKUP], chat_template=TEMPLATE, add_generation_prompt=True, tokenize=False
    )
    typed = [
        r.UserMessage(QUESTION[0]["content"]),
        r.AssistantMessage(None, [r.ToolCall("call-1", r.FunctionCall("clock", '{"zone": "<é>"}'))]),
        r.ToolMessage("12:30", "call-1"),
    ]
    function = LOOKUP["function"]
    tool = r.Tool("function", r.Function(function["name"], function["description"], function["parameters"]))
    chat = conversation(TEMPLATE, typed, [tool])
    assert render_chat(TEMPLATE, chat["messages"], tools=chat["tools"]) == expected
