"""Keys and quotas as OpenAI's own client meets them: the errors that it knows, and nothing of other users."""

import openai as client_library
import pytest

from pie_core.application.quotas import Quota, Quotas
from pie_core.server.access import Access
from pie_core.server.keys import KeyFile, Keyring

ASK = {"model": "fake", "prompt": "Hello", "max_tokens": 2}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    file = KeyFile(tmp_path_factory.mktemp("keys") / "keys.json")
    return {user: file.add(user)[1] for user in ("alice", "bob", "carol", "dave")} | {"access": Access(Keyring(file))}


@pytest.fixture(scope="module")
def server(fake_served, keys):
    quotas = Quotas(
        users={
            "bob": Quota(requests_per_minute=1),
            "carol": Quota(inferlets=0),
            "dave": Quota(kvpages=0),
        }
    )
    with fake_served(quotas=quotas, access=keys["access"]) as running:
        yield running


def complete(server, key):
    with server.client.with_options(api_key=key) as client:
        return client.completions.create(**ASK)


def test_a_wrong_key_is_the_error_that_the_client_has_for_it(server, keys):
    assert complete(server, keys["alice"]).choices[0].text
    with pytest.raises(client_library.AuthenticationError) as caught:
        complete(server, "sk-wrong")
    error = caught.value
    assert (error.status_code, error.code, error.type) == (401, "invalid_api_key", "invalid_request_error")
    assert error.response.headers["WWW-Authenticate"] == "Bearer"
    with server.client as client, pytest.raises(client_library.AuthenticationError):
        client.models.list()


def test_a_request_too_many_is_a_rate_limit_that_says_when(server, keys):
    complete(server, keys["bob"])
    with pytest.raises(client_library.RateLimitError) as caught:
        complete(server, keys["bob"])
    error = caught.value
    assert (error.code, error.type, "requests_per_minute" in error.message) == ("busy", "rate_limit_error", True)
    assert 1 < int(error.response.headers["Retry-After"]) <= 60
    assert complete(server, keys["alice"]).choices


def test_an_inferlet_too_many_is_a_rate_limit(server, keys):
    with pytest.raises(client_library.RateLimitError, match="quota `inferlets`"):
        complete(server, keys["carol"])


def test_pages_that_a_user_may_never_have_are_no_matter_of_trying_again(server, keys):
    with pytest.raises(client_library.InternalServerError, match="quota `kvpages`") as caught:
        complete(server, keys["dave"])
    assert caught.value.status_code == 503


def test_the_inferlet_of_a_request_is_of_its_user(server, keys):
    complete(server, keys["alice"])
    accounts = server.state.controller.application.accounts
    assert accounts.of("alice").inferlets == 0
    (model,) = server.state.controller.models.values()
    assert set(model.layer.budgets) >= {"alice"} and "local" not in model.layer.budgets
