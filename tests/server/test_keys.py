"""The file of keys: what is in it, what is not, who may change it, and that a server notices."""

import hashlib
import json
import os
import stat
import threading
from datetime import UTC, datetime, timedelta

import pytest

from pie_core.errors import AuthenticationError, ConfigError
from pie_core.server.keys import KeyFile, Keyring

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def file(tmp_path):
    return KeyFile(tmp_path / "deep" / "keys.json", lambda: NOW)


def test_a_key_is_found_by_its_text_and_its_text_is_nowhere_in_the_file(file):
    key, text = file.add("alice", note="laptop", operator=True)
    other, _ = file.add("bob")
    assert text.startswith(f"pie-{key.id}-") and len(text.rpartition("-")[2]) <= 43 < len(text)
    written = file.path.read_text()
    assert text not in written and text[13:] not in written
    (first, second) = json.loads(written)["keys"]
    assert first["sha256"] == hashlib.sha256(text.encode()).hexdigest()  # by the standard library, from outside
    assert (first["user"], first["note"], first["operator"], first["created"]) == (
        "alice", "laptop", True, "2026-06-01T12:00:00Z",
    )  # fmt: skip
    assert second["id"] == other.id != key.id
    assert Keyring(file).find(text) == key


def test_no_two_keys_are_alike_and_a_wrong_one_is_refused(file):
    texts = [file.add("alice")[1] for _ in range(20)]
    assert len(set(texts)) == 20
    ring = Keyring(file)
    good = texts[0]
    flipped = good[:-1] + ("A" if good[-1] != "A" else "B")
    borrowed = texts[1][:12] + good[12:]  # the id of one, the secret of another
    for wrong in ("", "pie-", "none", flipped, borrowed, good + " ", good.upper(), "pie-\udcff-x", good[4:]):
        with pytest.raises(AuthenticationError, match="does not know this key"):
            ring.find(wrong)
    assert ring.find(good).user == "alice"


def test_the_file_is_for_its_owner_only_and_replaced_as_a_whole(file):
    before = os.umask(0)
    try:
        file.add("alice")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    first = file.path.stat().st_ino
    with file.path.open() as reader:
        file.add("bob")
        assert len(json.loads(reader.read())["keys"]) == 1  # who reads meanwhile has the old one, whole
    assert file.path.stat().st_ino != first
    assert sorted(path.name for path in file.path.parent.iterdir()) == ["keys.json", "keys.json.lock"]


def test_no_change_is_lost_when_many_change_it_at_once(file):
    threads = [threading.Thread(target=lambda n=n: [file.add(f"u{n}") for _ in range(5)]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.user for key in file.read()) == sorted(f"u{n}" for n in range(4) for _ in range(5))


def test_a_server_notices_what_is_added_and_removed_and_never_opens_again(file):
    ring = Keyring(file)
    assert not ring.needed
    key, text = file.add("alice")
    assert ring.find(text) == key
    assert ring.needed
    file.remove(key.id)
    with pytest.raises(AuthenticationError):
        ring.find(text)
    assert file.path.exists()
    file.path.unlink()
    ring.refresh()
    assert ring.needed
    with pytest.raises(AuthenticationError):
        ring.find(text)


def test_an_expired_key_is_refused_from_that_moment_on(file):
    _, text = file.add("alice", expires=NOW + timedelta(hours=1))
    clock = [NOW]
    ring = Keyring(file, lambda: clock[0])
    ring.find(text)
    clock[0] += timedelta(hours=1)
    with pytest.raises(AuthenticationError, match="has expired at 2026-06-01 13:00:00 UTC"):
        ring.find(text)


@pytest.mark.parametrize("user", ["", " ", "a b", "-a", "a" * 65, "é", "a\n", "a/b"])
def test_a_user_needs_a_plain_name(file, user):
    with pytest.raises(ConfigError, match="cannot be a user's name"):
        file.add(user)
    assert not file.path.exists()


def test_a_key_that_would_never_be_good_is_not_made(file):
    with pytest.raises(ConfigError, match="expired already"):
        file.add("alice", expires=NOW)


def test_removing_what_is_not_there_names_the_near_ones(file):
    key, _ = file.add("alice")
    with pytest.raises(ConfigError, match=f"did you mean '{key.id}'"):
        file.remove(key.id[:-1])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no file of keys"),
        ("[]", "is no file of keys"),
        ('{"version": 2, "keys": []}', "has version 2"),
        ('{"version": 1, "keys": [{"id": "a"}]}', "missing required field"),
        ('{"version": 1, "keys": [], "more": 1}', "unknown field"),
        ('{"version": 1, "keys": [{"id": "a", "user": "x", "sha256": "é", "created": "2026-01-01T00:00:00Z"}]}', "sha"),
        ('{"version": 1, "keys": [{"id": "a", "user": "x", "sha256": "S", "created": "2026-01-01T00:00:00"}]}', "crea"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_an_error_at_the_start_and_lets_nobody_in_later(file, text, says):
    _, good = file.add("alice")
    ring = Keyring(file)
    file.path.write_text(text.replace('"S"', f'"{"0" * 64}"'))
    with pytest.raises(ConfigError, match=says):
        Keyring(file)
    for _ in range(2):
        with pytest.raises(ConfigError, match=says):
            ring.find(good)


def test_a_file_that_others_may_write_to_is_refused(file):
    file.add("alice")
    file.path.chmod(0o620)
    with pytest.raises(ConfigError, match="others may write"):
        Keyring(file)
