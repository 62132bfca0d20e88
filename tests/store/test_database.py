"""The file of the store: whole whatever happens, shared by processes, within the quota."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pie_core.application.store import database as database_module
from pie_core.application.store.database import FILE, Database, Quota
from pie_core.application.store.store import Store, default_directory
from pie_core.errors import ConfigError, PieError, ResourceError

ROOMY = Quota(1000, 1 << 20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a" / "b" / FILE


def test_what_was_set_is_there_when_the_file_is_opened_again(path):
    first = Database(path)
    first.set("ann", "key", "ä\x00\U0001f600", ROOMY)
    first.set("ann", "", "empty", ROOMY)
    first.close()
    again = Database(path)
    assert again.get("ann", "key") == "ä\x00\U0001f600" and again.keys("ann") == ["", "key"]
    assert again.get("bob", "key") is None and not again.exists("bob", "key") and again.keys("bob") == []
    assert again.delete("ann", "key") and not again.delete("ann", "key") and not again.exists("ann", "key")
    again.close()


def test_only_its_owner_may_read_the_file(path):
    database = Database(path)
    database.set("ann", "key", "value", ROOMY)
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    database.close()


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["set", "delete"]), st.sampled_from("ab"), st.sampled_from("xyzä"), st.text(max_size=12)),
    max_size=40,
)


@settings(deadline=None)
@given(OPERATIONS)
def test_it_is_a_dictionary_for_each_user_and_the_quota_is_what_that_holds(operations):
    database, model, quota = Database(None), {"a": {}, "b": {}}, Quota(3, 30)
    for operation, user, key, value in operations:
        mine = model[user]
        if operation == "delete":
            assert database.delete(user, key) == (mine.pop(key, None) is not None)
            continue
        wanted = {**mine, key: value}
        size = {k: len(k.encode()) + len(v.encode()) for k, v in wanted.items()}
        grows = size[key] > (len(key.encode()) + len(mine[key].encode()) if key in mine else 0)
        if (len(wanted) > 3 and key not in mine) or (sum(size.values()) > 30 and grows):
            with pytest.raises(ResourceError, match="limit `store_"):
                database.set(user, key, value, quota)
        else:
            database.set(user, key, value, quota)
            model[user] = wanted
        assert {k: database.get(user, k) for k in database.keys(user)} == model[user]
        assert database._usage(user) == (len(model[user]), sum(size_of(model[user])))
    database.close()


def size_of(texts):
    return [len(key.encode()) + len(value.encode()) for key, value in texts.items()]


def test_the_quota_says_what_is_over_it():
    database = Database(None)
    database.set("ann", "a", "x", Quota(1, 10))
    with pytest.raises(ResourceError, match=r"keeps 1 keys, all that is allowed \(limit `store_keys`\)"):
        database.set("ann", "b", "x", Quota(1, 10))
    with pytest.raises(ResourceError, match=r"with 'a' user 'ann' would keep 11 bytes, of 10 allowed \(limit `store_b"):
        database.set("ann", "a", "x" * 10, Quota(1, 10))
    assert database.get("ann", "a") == "x"
    database.set("bob", "a", "x" * 9, Quota(1, 10))
    database.set("ann", "a", "y", Quota(0, 0))  # what gets no larger is taken, whatever the quota has become
    database.close()


WRITER = """
import sys
from pathlib import Path
from pie_core.application.store.database import Database, Quota
print("ready", flush=True)
sys.stdin.readline()
database = Database(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    database.set("ann", f"{sys.argv[2]}{number}", "v" * 100, Quota(10**6, 10**9))
    database.set("ann", "shared", f"{sys.argv[2]}{number}", Quota(10**6, 10**9))
database.close()
"""


def test_several_servers_may_write_to_one_file(path):
    """Three processes that begin with no file at all; no write is lost, and the books are right."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, name, "300"], **pipes) for name in "xyz"]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    database = Database(path)
    keys = database.keys("ann")
    assert set(keys) == {f"{name}{number}" for name in "xyz" for number in range(300)} | {"shared"}
    assert database.get("ann", "shared") in ("x299", "y299", "z299")
    texts = {key: database.get("ann", key) for key in keys}
    assert database._usage("ann") == (901, sum(size_of(texts)))
    database.close()


def test_a_new_file_that_another_server_is_preparing_is_waited_for(path, monkeypatch):
    """SQLite itself would refuse at once: it does not wait where two prepare a file."""
    other = preparing(path)
    monkeypatch.setattr(database_module.time, "sleep", lambda _: other.execute("COMMIT"))
    database = Database(path)
    database.set("ann", "key", "value", ROOMY)
    database.close()
    other.close()


def test_a_file_that_stays_locked_is_not_called_damaged(path, monkeypatch):
    other = preparing(path)
    monkeypatch.setattr(database_module, "_BUSY_S", 0.0)
    with pytest.raises(ConfigError, match=r"was locked by another process for more than .*--state-dir") as caught:
        Database(path)
    assert "damaged" not in str(caught.value)
    other.close()


def preparing(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_what_was_written_survives_a_process_that_is_killed(path):
    source = WRITER.replace("database.close()", "print('done', flush=True); import time; time.sleep(60)")
    command = [sys.executable, "-c", source, path, "x", "20"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as writer:
        assert [writer.stdout.readline() for _ in range(2)] == [b"ready\n", b"done\n"]
        writer.kill()
    database = Database(path)
    assert len(database.keys("ann")) == 21
    database.close()


def filled(path: Path) -> bytes:
    database = Database(path)
    for number in range(200):
        database.set("ann", f"key{number}", "x" * 500, ROOMY)
    database.close()
    return path.read_bytes()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda raw: b"this is not a database" * 50, "cannot be read: file is not a database"),
        (lambda raw: raw[: len(raw) // 2], "cannot be read: "),
        (lambda raw: raw[:8192] + b"\xff" * 8192 + raw[16384:], "cannot be read: "),
        (lambda raw: raw[:60] + b"\0\0\0\7" + raw[64:], "has version 7, this pie-core knows 1"),
        (lambda raw: raw[:68] + b"ABCD" + raw[72:], "is a database of something else"),
    ],
    ids=["noise", "cut off", "damaged within", "another version", "of something else"],
)
def test_a_file_that_cannot_be_used_is_a_clear_error_at_the_start(path, damage, told):
    path.write_bytes(damage(filled(path)))
    with pytest.raises(ConfigError, match=told) as caught:
        Store(path.parent).check()
    assert str(path) in str(caught.value) and "--state-dir" in str(caught.value)


def test_a_database_of_another_program_is_not_touched(path):
    path.parent.mkdir(parents=True)
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.commit()
    with pytest.raises(ConfigError, match="of something else"):
        Database(path)
    assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    other.close()


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match=r"cannot be opened: .*--state-dir"):
        Database(tmp_path / "file" / FILE)


def test_looking_whether_there_is_a_file_makes_none(tmp_path):
    Store(tmp_path / "none").check()
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_middle_of_a_write_undoes_it(path, monkeypatch):
    database = Database(path)
    database.set("ann", "key", "old", ROOMY)
    database._connection.execute("CREATE TRIGGER t BEFORE INSERT ON usage BEGIN SELECT RAISE(ABORT, 'broken'); END")
    with pytest.raises(PieError, match="cannot be used: broken"):
        database.set("ann", "key", "new", ROOMY)
    assert database.get("ann", "key") == "old"
    database.close()


@pytest.mark.parametrize(
    ("home", "directory"),
    [("/x", "/x/pie-core"), ("", "{home}/.local/state/pie-core"), ("relative", "{home}/.local/state/pie-core")],
)
def test_the_usual_place(monkeypatch, home, directory):
    monkeypatch.setenv("XDG_STATE_HOME", home)
    assert str(default_directory()) == directory.format(home=Path.home())
