"""The OpenAPI description of the page's routes, and its manual, say what is so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

DOCS = Path(__file__).parents[3] / "docs"
ROUTES = {"/", "/page/files/{name}", "/page/programs", "/page/programs/{name}", "/page/state", "/page/trees/{id}"}


@pytest.fixture(scope="module")
def description(_fake):
    return _fake.get("/openapi.json").json()


def test_every_route_is_described_and_in_the_manual(description):
    assert {path for path in description["paths"] if path == "/" or path.startswith("/page")} == ROUTES
    manual = (DOCS / "page.md").read_text("utf-8")
    for path in ROUTES:
        assert f"`GET {path}" in manual, path


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_that_the_description_allows_or_forbids_gets_a_wrong_answer(fake, description, mode):
    """schemathesis makes requests from the description and holds every answer against it."""
    fake.launch("async def main(): pass")
    mine = description | {"paths": {path: description["paths"][path] for path in ROUTES}}
    operations = [found.ok() for found in schemathesis.openapi.from_dict(mine).get_all_operations()]
    assert len(operations) == len(ROUTES)
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and operation.path != "/page/state":
            continue  # nothing to be wrong about

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=10,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        )
        def answers_well(case):
            case.call_and_validate(base_url=fake.url)

        answers_well()


def test_the_state_that_the_page_reads_is_the_one_that_is_described(description):
    """Every field that a script takes out of an answer is a field of some schema, or of an event of the protocol."""
    scripts = DOCS.parent / "plugins" / "server_page" / "src" / "pie_server_page" / "static"
    fields = set(re.findall(r'"(\w+)": ?{', json.dumps(description["components"]["schemas"])))
    for wanted in ("inferlets", "models", "pools", "owners", "runs", "spans", "branches", "computed", "first_token_s"):
        assert wanted in fields
        assert any(re.search(rf"\b{wanted}\b", path.read_text("utf-8")) for path in scripts.glob("*.js")), wanted
