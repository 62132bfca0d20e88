"""The page on a server with keys: anybody may load it, and sees what is of the user whose key it sends."""

from __future__ import annotations

import re

import pytest

from pie_core.server.access import Access
from pie_core.server.keys import KeyFile, Keyring

HOLD = """
from inferlet import *
async def main():
    with get_auto_model().create_context() as context:
        await context.fill("a text that is long enough for some pages of sixteen tokens")
        await context.next_dist()
        await receive()
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    file = KeyFile(tmp_path_factory.mktemp("keys") / "keys.json")
    texts = {user: file.add(user)[1] for user in ("alice", "bob")} | {"root": file.add("root", operator=True)[1]}
    return Access(Keyring(file)), texts


@pytest.fixture(scope="module")
def server(fake_served, keys):
    with fake_served(access=keys[0]) as running:
        yield running


def test_the_page_and_its_files_need_no_key(server):
    page = server.get("/")
    assert page.status_code == 200
    names = re.findall(r'"/page/files/([\w.-]+)"', page.text)
    assert names and all(server.get(f"/page/files/{name}").status_code == 200 for name in names)


@pytest.mark.parametrize("path", ["/page/state", "/page/programs", "/page/programs/text_completion", "/page/trees/x"])
def test_what_it_shows_needs_one(server, keys, path):
    refused = server.get(path)
    assert refused.status_code == 401 and "Authorization: Bearer" in refused.json()["error"]["message"]
    assert server.get(path, headers={"Authorization": f"Bearer {keys[1]['alice']}"}).status_code == 200


def test_a_user_is_shown_what_is_of_the_user_and_an_operator_everything(server, keys):
    def ask(path, user):
        return server.get(path, headers={"Authorization": f"Bearer {keys[1][user]}"}).json()

    def look(user):
        """With books that were read since the inferlets are there."""
        while not (told := ask("/page/state", user))["books"]["inferlets"]:
            pass
        return told

    ask("/page/trees/none", "root")  # somebody looks from here on
    running = {user: server.launch(HOLD, "holder", user) for user in ("alice", "bob")}
    ids = {user: inferlet.id for user, inferlet in running.items()}
    calls = server.model.layer.statistics.calls
    server.until(lambda: "get_next_dist" in calls and calls["get_next_dist"].commands == 2)
    seen = {user: look(user) for user in ("alice", "bob", "root")}
    shown = {user: {each["id"] for each in told["books"]["inferlets"]} for user, told in seen.items()}
    assert shown == {"alice": {ids["alice"]}, "bob": {ids["bob"]}, "root": set(ids.values())}
    for user, other in (("alice", "bob"), ("bob", "alice")):
        (model,) = seen[user]["books"]["models"]
        pool = next(pool for pool in model["pools"] if pool["kind"] == "kvpage")
        assert pool["owners"] == [ids[user]] and ids[other] not in str(seen[user])
        assert seen[user]["spans"] == [] and model["calls"] == []
        assert ask(f"/page/trees/{ids[user]}", user)["tokens"] and not ask(f"/page/trees/{ids[other]}", user)["noted"]
    assert seen["root"]["spans"] and ask(f"/page/trees/{ids['bob']}", "root")["tokens"]
    server.stop_all()
