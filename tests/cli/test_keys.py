"""`pie-core keys`, and a server that asks for them, in processes of their own."""

import json
import signal
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from pie_core.client import SyncClient
from pie_core.errors import AuthenticationError


def status(url, key=None):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.get(f"{url}/v1/facts", headers=headers, trust_env=False).status_code


def test_a_key_is_made_shown_once_used_and_removed_while_the_server_runs(pie_core, programs, tmp_path):
    state = ("--state-dir", tmp_path)
    with pie_core.serve(*state, "--native", "--log-level", "debug") as (server, url):
        assert status(url) == 200  # no keys yet: as ever
        made = pie_core.run("keys", "add", "alice", "--note", "my laptop", "--expires", "30d", *state)
        key = made.stdout.strip()
        assert key.startswith("pie-") and key not in made.stderr
        assert [status(url), status(url, key + "x"), status(url, key)] == [401, 401, 200]
        listed = pie_core.run("keys", "list", *state)
        (facts,) = json.loads(pie_core.run("keys", "list", "--json", *state).stdout)
        assert (facts["user"], facts["note"], facts["operator"]) == ("alice", "my laptop", False)
        assert timedelta(days=29) < datetime.fromisoformat(facts["expires"]) - datetime.now(UTC) <= timedelta(days=30)
        assert facts["id"] in listed.stdout and "my laptop" in listed.stdout
        for text in (listed.stdout, json.dumps(facts)):
            assert key not in text and "sha256" not in text
        done = pie_core.run("run", "--server", url, "--key", key, programs / "fails.py")
        assert done.stdout == "so far so good\n"
        assert json.loads(pie_core.run("ps", "--server", url, "--json", PIE_API_KEY=key).stdout) == []
        refused = pie_core.run("ps", "--server", url)
        assert (refused.returncode, "the server needs a key" in refused.stderr) == (1, True)
        with SyncClient(url, key) as client:
            assert pie_core.run("keys", "remove", facts["id"], *state).returncode == 0
            with pytest.raises(AuthenticationError):
                client.ping()
        assert status(url, key) == 401
        server.send_signal(signal.SIGTERM)
        _, told = server.communicate(timeout=30)
        assert "authorization: ..." in told.lower()
        assert key not in told and key.split("-", 2)[2] not in told


def test_wrong_use_is_told(invoke, tmp_path):
    state = ("--state-dir", tmp_path)
    unknown = invoke("keys", "remove", "nobody", *state)
    assert (unknown.exit_code, "has the id 'nobody'" in unknown.stderr) == (1, True)
    assert "write 30d" in invoke("keys", "add", "alice", "--expires", "soon", *state).stderr
    assert "expired already" in invoke("keys", "add", "alice", "--expires", "2020-01-01", *state).stderr
    assert "cannot be a user's name" in invoke("keys", "add", "a b", *state).stderr
    head = invoke("keys", "list", *state).stdout.split()
    assert head == ["ID", "USER", "CREATED", "EXPIRES", "OPERATOR", "NOTE"]


def test_a_server_without_keys_does_not_listen_to_other_machines_by_mistake(invoke, tmp_path):
    serve = ("serve", "fake", "--state-dir", tmp_path)
    refused = invoke(*serve, "--host", "0.0.0.0")
    assert (refused.exit_code, "there are no keys" in refused.stderr, "--anonymous" in refused.stderr) == (
        1,
        True,
        True,
    )
    missing = invoke(*serve, "--keys", tmp_path / "mistyped.json")
    assert (missing.exit_code, "there is no such file" in missing.stderr) == (1, True)
    (tmp_path / "keys.json").write_text("{}")
    damaged = invoke(*serve)
    assert (damaged.exit_code, "is no file of keys" in damaged.stderr) == (1, True)
