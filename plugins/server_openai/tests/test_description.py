"""The OpenAPI description, the metrics and the manual say what is so."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pie_server_openai.requests import ChatRequest, CompletionRequest
from prometheus_client.parser import text_string_to_metric_families
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

MANUAL = (Path(__file__).parents[3] / "docs" / "openai.md").read_text("utf-8")
# No description can tell that two fields do not go together, though each of them is right.
UNTOLD = [positive_data_acceptance]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_that_the_description_allows_or_forbids_gets_a_wrong_answer(reciter, mode):
    """schemathesis makes requests from the description and holds every answer against it."""
    reciter.recite(None)  # what is drawn at random can follow any schema
    description = httpx.get(f"{reciter.url}/openapi.json", trust_env=False).json()
    schema = schemathesis.openapi.from_dict(description)
    assert len(list(schema.get_all_operations())) >= 11
    for found in schema.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and operation.method != "post":
            continue  # nothing to be wrong about

        @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
        @settings(
            max_examples=8,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        )
        def answers_well(case, data):
            if mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
                case.body |= (
                    {"max_tokens": 3, "max_completion_tokens": 3} if "messages" in case.body else {"max_tokens": 3}
                )
                if data.draw(st.booleans()):
                    case.body["model"] = "fake"
            case.call_and_validate(base_url=reciter.url, excluded_checks=UNTOLD)

        answers_well()


@pytest.mark.parametrize("kind", [ChatRequest, CompletionRequest])
def test_every_field_is_in_the_manual(kind):
    for field in msgspec.structs.fields(kind):
        assert f"`{field.encode_name}" in MANUAL, field.encode_name


def samples(server):
    text = httpx.get(f"{server.url}/metrics", trust_env=False).text
    families = list(text_string_to_metric_families(text))
    found = [sample for family in families for sample in family.samples if "le" not in sample.labels]
    return families, {(s.name, (s.labels.get("route"), s.labels.get("status"))): s.value for s in found}


def test_requests_tokens_and_times_are_counted(reciter):
    reciter.recite("hello")
    _, before = samples(reciter)
    with reciter.client as client:
        given = [client.completions.create(model="fake", prompt="123456", max_tokens=4, n=2) for _ in range(3)]
        with pytest.raises(Exception, match="does not exist"):
            client.completions.create(model="other", prompt="12345")
    _, after = samples(reciter)

    def grown(name, route=(None, None)):
        return after[name, route] - before.get((name, route), 0)

    generated = sum(one.usage.completion_tokens for one in given)
    assert grown("pie_prompt_tokens_total") == 18
    assert grown("pie_generated_tokens_total") == generated
    assert generated == 24
    assert grown("pie_time_to_first_token_seconds_count") == 6
    assert grown("pie_inter_token_seconds_count") == 18
    assert grown("pie_requests_total", ("/v1/completions", "200")) == 3
    assert grown("pie_requests_total", ("/v1/completions", "404")) == 1


def test_every_metric_of_the_routes_is_in_the_manual(reciter):
    core = (Path(__file__).parents[3] / "docs" / "operations.md").read_text("utf-8")
    families, _ = samples(reciter)
    for family in families:
        name = family.name.removesuffix("_created")
        assert f"`{name}" in MANUAL or f"`{name}" in core, name


def test_the_example_of_the_manual_runs(server, reference, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    source, *_ = re.findall(r"```python\n(.*?)```", MANUAL, re.DOTALL)
    printed = []
    exec(source.replace("http://127.0.0.1:8123", server.url), {"print": lambda piece, **_: printed.append(piece)})
    prompt = reference.chat([{"role": "user", "content": "What is the capital of France?"}])
    answer = reference.text(reference.greedy(prompt, 64))
    assert "".join(printed) == answer
