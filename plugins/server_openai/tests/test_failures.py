"""What goes wrong: mistakes of clients, clients that go, programs that are ended, a server that is full or stops."""

from __future__ import annotations

import json
import re
import socket
import threading

import httpx
import openai as client_library
import pytest

from pie_core.application.limits import Limits

CHAT = {"model": "pico", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
TEXT = {"model": "pico", "prompt": "Hello", "max_tokens": 4}
TOOL = {"type": "function", "function": {"name": "f"}}


def post(server, path, body, **more):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{server.url}/v1/{path}", content=content, trust_env=False, timeout=30, **more)


MISTAKES = [
    ("completions", b"", 400, None),
    ("completions", b"{", 400, None),
    ("completions", b"[]", 400, None),
    ("completions", b"\xff\xfe", 400, None),
    ("completions", b"[" * 100_000, 400, None),
    ("completions", b'{"model": "pico", "prompt": "\xff"}', 400, None),
    ("completions", {}, 400, "model"),
    ("completions", TEXT | {"promt": "a"}, 400, "promt"),
    ("completions", TEXT | {"model": "gpt"}, 404, "model"),
    ("completions", TEXT | {"model": 7}, 400, "model"),
    ("completions", TEXT | {"prompt": ""}, 400, "prompt"),
    ("completions", TEXT | {"prompt": []}, 400, "prompt"),
    ("completions", TEXT | {"prompt": [[]]}, 400, "prompt"),
    ("completions", TEXT | {"prompt": ["a", 1]}, 400, "prompt"),
    ("completions", TEXT | {"prompt": [10**9]}, 400, None),
    ("completions", TEXT | {"prompt": [-1]}, 400, "prompt[...]"),
    ("completions", TEXT | {"prompt": "word " * 5000}, 400, None),
    ("completions", TEXT | {"prompt": ["a"] * 65, "n": 2}, 400, "prompt"),
    ("completions", TEXT | {"max_tokens": -1}, 400, "max_tokens"),
    ("completions", TEXT | {"max_tokens": 10**30}, 400, "max_tokens"),
    ("completions", TEXT | {"temperature": 3}, 400, "temperature"),
    ("completions", TEXT | {"temperature": "hot"}, 400, "temperature"),
    ("completions", TEXT | {"top_p": 1.1}, 400, "top_p"),
    ("completions", TEXT | {"n": 0}, 400, "n"),
    ("completions", TEXT | {"n": 10**6}, 400, "n"),
    ("completions", TEXT | {"seed": 2**70}, 400, "seed"),
    ("completions", TEXT | {"stop": ""}, 400, "stop"),
    ("completions", TEXT | {"stop": ["a", ""]}, 400, "stop[...]"),
    ("completions", TEXT | {"stop": ["a"] * 99}, 400, "stop"),
    ("completions", TEXT | {"logit_bias": {"x": 1}}, 400, "logit_bias"),
    ("completions", TEXT | {"logit_bias": {"1": 101}}, 400, "logit_bias[...]"),
    ("completions", TEXT | {"presence_penalty": -2.1}, 400, "presence_penalty"),
    ("completions", TEXT | {"logprobs": 21}, 400, "logprobs"),
    ("completions", TEXT | {"echo": True, "logprobs": 1}, 400, "echo"),
    ("completions", TEXT | {"best_of": 3}, 400, "best_of"),
    ("completions", TEXT | {"suffix": "end"}, 400, "suffix"),
    ("completions", TEXT | {"stream_options": {"include_usage": True}}, 400, "stream_options"),
    ("chat/completions", CHAT | {"messages": []}, 400, "messages"),
    ("chat/completions", CHAT | {"messages": "Hello"}, 400, "messages"),
    ("chat/completions", CHAT | {"messages": [{"role": "poet", "content": "a"}]}, 400, "messages[...].role"),
    ("chat/completions", CHAT | {"messages": [{"role": "user"}]}, 400, "messages[...].content"),
    ("chat/completions", CHAT | {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, ...),
    ("chat/completions", CHAT | {"max_completion_tokens": 0}, 400, "max_completion_tokens"),
    ("chat/completions", CHAT | {"top_logprobs": 2}, 400, "top_logprobs"),
    ("chat/completions", CHAT | {"tool_choice": "required"}, 400, "tool_choice"),
    (
        "chat/completions",
        CHAT | {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        400,
        ...,
    ),
    ("chat/completions", CHAT | {"tools": [{"type": "function", "function": {"name": "a b"}}]}, 400, ...),
    ("chat/completions", CHAT | {"response_format": {"type": "xml"}}, 400, "response_format.type"),
    ("chat/completions", CHAT | {"functions": []}, 400, "functions"),
]
BAD_CALL = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{"}}]}
BAD_SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "nothing"}}}
MISTAKES += [
    ("chat/completions", CHAT | {"messages": [BAD_CALL]}, 400, "messages[...].tool_calls"),
    ("chat/completions", CHAT | {"response_format": BAD_SCHEMA}, 400, None),
    ("chat/completions", CHAT | {"response_format": BAD_SCHEMA, "stream": True}, 400, None),
]


@pytest.mark.parametrize(("path", "body", "status", "param"), MISTAKES)
def test_a_mistake_is_a_4xx_that_says_what_and_where(server, path, body, status, param):
    response = post(server, path, body)
    error = response.json()["error"]
    assert response.status_code == status, error
    assert error["message"] and error["type"]
    assert param is ... or (error["param"] and re.sub(r"\d+", "...", error["param"])) == param, error
    server.until(lambda: not server.inferlets and not any(server.used))


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"model": "pico", "prompt": "\xff"}'])
def test_a_body_that_is_not_json_is_said_to_be_none(server, body):
    assert "the body cannot be read as JSON" in post(server, "completions", body).json()["error"]["message"]


def test_a_body_without_end_is_refused_before_it_is_read(server):
    def endless():
        while True:
            yield b"x" * (1 << 20)

    with pytest.raises(httpx.HTTPError) as broken:
        response = httpx.post(f"{server.url}/v1/completions", content=endless(), trust_env=False, timeout=30)
        assert response.status_code == 413
        raise httpx.WriteError("answered")
    assert broken.type in (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError)


def test_fields_that_say_nothing_about_the_answer_are_taken(openai):
    ignored = {"user": "ann", "metadata": {"a": "b"}, "store": False, "parallel_tool_calls": True, "verbosity": "low"}
    assert openai.chat.completions.create(**CHAT, **ignored).usage.completion_tokens


def test_an_unknown_model_is_not_found(openai):
    assert [model.id for model in openai.models.list()] == ["pico"]
    assert openai.models.retrieve("pico").id == "pico"
    with pytest.raises(client_library.NotFoundError, match="gpt-9"):
        openai.models.retrieve("gpt-9")


LONG = {"ignore_eos": True, "max_tokens": 1900, "stream": True}


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_a_failure_in_mid_stream_is_an_event_then_done_then_the_end(server, path):
    body = (CHAT if path.startswith("chat") else TEXT) | LONG
    with httpx.stream("POST", f"{server.url}/v1/{path}", json=body, trust_env=False, timeout=30) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in response.iter_lines() if line)
        assert next(lines).startswith("data: {")
        (inferlet,) = server.inferlets
        httpx.delete(f"{server.url}/v1/inferlets/{inferlet}", trust_env=False).raise_for_status()
        *_, error, done = lines
    assert done == "data: [DONE]"
    assert json.loads(error.removeprefix("data: "))["error"]["message"] == "stopped over HTTP"


def test_the_client_library_raises_what_fails_in_mid_stream(server, openai):
    stream = openai.completions.create(**TEXT | {"max_tokens": 1900}, stream=True, extra_body={"ignore_eos": True})
    next(stream)
    (inferlet,) = server.inferlets.values()
    server.stop(inferlet)
    with pytest.raises(client_library.APIError, match="over"):
        list(stream)


def test_a_client_that_goes_ends_its_inferlet(server):
    with httpx.stream("POST", f"{server.url}/v1/completions", json=TEXT | LONG, trust_env=False) as response:
        lines = response.iter_lines()
        assert next(lines).startswith("data: {")
        assert server.inferlets
    server.until(lambda: not server.inferlets and not any(server.used))


def test_a_client_that_goes_before_there_is_an_answer_ends_its_inferlet(server):
    host, port = server.url.removeprefix("http://").split(":")
    content = json.dumps(TEXT | {"max_tokens": 1900, "ignore_eos": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(content)}\r\n\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + content)
        server.until(lambda: server.inferlets)
    server.until(lambda: not server.inferlets and not any(server.used))


def test_a_request_waits_for_its_turn_and_behind_a_full_line_it_is_429(fake_served):
    with fake_served(Limits(max_inferlets=1, line_launches=1)) as server:
        occupant, answers = server.occupy(), []

        def ask():
            answers.append(post(server, "completions", TEXT | {"model": "fake"}))

        waiting = threading.Thread(target=ask)
        waiting.start()
        server.until(lambda: len(server.inferlets) == 2)
        assert [facts["status"] for facts in server.state.controller.application.list()] == ["running", "waiting"]
        for path, body in (("completions", TEXT), ("chat/completions", CHAT | {"stream": True})):
            refused = post(server, path, body | {"model": "fake"})
            assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
            assert refused.json()["error"]["type"] == "rate_limit_error"
        server.stop(occupant)
        waiting.join()
        assert answers[0].status_code == 200
        server.loop.call_soon_threadsafe(server.state.closing.set)
        server.until(server.state.closing.is_set)
        late = post(server, "completions", TEXT | {"model": "fake"})
        assert (late.status_code, late.headers["Retry-After"]) == (503, "1")
        assert "shuts down" in late.json()["error"]["message"]
