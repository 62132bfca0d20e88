"""The store as programs see it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from pie_core.application.application import Application
from pie_core.application.limits import Limits
from pie_core.application.native import NativeTier
from pie_core.application.program import Program
from pie_core.application.services import Services
from pie_core.application.store.store import Store
from pie_core.testing import fake_model, run_inferlet

HEAD = "import asyncio, json\nfrom inferlet import *\nasync def main():\n    "


def run(body, directory=None, limits=None):
    services = Services(store=Store(directory))
    return asyncio.run(run_inferlet(HEAD + "\n    ".join(body.splitlines()), limits=limits, services=services)).ended


def test_the_five_calls():
    ended = run("""
found = [await store_get("a"), await store_exists("a"), await store_delete("a"), await store_list_keys()]
found.append(await store_set("a", "1"))
store_set("b", "2")  # need not be awaited: accesses are done in order
found += [await store_get("b"), await store_exists("a"), await store_list_keys(), await store_delete("a")]
return json.dumps(found + [await store_get("a"), await store_list_keys()])""")
    assert json.loads(ended.value) == [None, False, False, [], None, "2", True, ["a", "b"], True, None, ["b"]]


def test_what_one_program_keeps_another_one_finds_after_a_restart(tmp_path):
    assert run("await store_set('key', 'value')", tmp_path).status == "finished"
    assert run("return await store_get('key')", tmp_path).value == "value"


def test_a_write_that_nobody_awaits_is_done_although_the_program_ends(tmp_path):
    run("for n in range(100): store_set(f'key{n}', 'x')", tmp_path)
    assert run("return str(len(await store_list_keys()))", tmp_path).value == "100"


def test_many_results_may_wait():
    """Of those that found nothing, too."""
    ended = run("""
found = []
for _ in range(10):
    found += await asyncio.gather(*[store_get("none") for _ in range(200)])
return str(found == [None] * 2000)""")
    assert ended.value == "True"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("store_get('')", "ArgumentError: the store: a key of 0 bytes; 1 to 512 are allowed"),
        ("store_delete('')", "ArgumentError: the store: a key of 0 bytes"),
        ("store_exists('')", "ArgumentError: the store: a key of 0 bytes"),
        ("store_set('ä' * 257, '')", "ArgumentError: the store: a key of 514 bytes"),
        ("store_set('a', 5)", "ArgumentError: store_set: argument `value`: expected str, got 5"),
        ("store_set('a', '\\ud800')", "half a surrogate pair"),
        ("store_set('a', 'x' * 101)", "ArgumentError: a message of 101 bytes is over the limit of 100"),
        ("await store_set('a', 'x' * 60); await store_set('b', 'x' * 60)", "ResourceError: the store: with 'b' user"),
        ("for n in range(4): await store_set(str(n), '')", "ResourceError: the store: user 'local' keeps 3 keys"),
        ("for n in range(300): store_get('a')", "ResourceError: the store: 256 accesses are not done"),
        ("for n in range(300): store_list_keys()", "ResourceError: the store: 256 accesses are not done"),
        ("for n in range(300): store_set('a', 'x' * 90)", "allowed, with 1000 bytes; await one first"),
    ],
)
def test_a_wrong_access_is_an_error_that_says_so(call, message):
    limits = Limits(message_bytes=100, store_keys=3, store_bytes=100, waiting_bytes=1000)
    assert message in run(call, limits=limits).error


@asynccontextmanager
async def serving(directory):
    model = fake_model()
    async with Application({"fake": model}, NativeTier(), services=Services(store=Store(directory))) as application:

        async def end(body, user):
            inferlet = await application.launch(Program("test", HEAD + body, "test.py"), user=user)
            arrived = asyncio.Event()
            inferlet.ended.watch(lambda _: arrived.set())
            await arrived.wait()
            return inferlet.outcome

        yield end
    model.close()


def test_each_user_has_a_store_of_its_own(tmp_path):
    async def play():
        async with serving(tmp_path) as end:
            await end("await store_set('key', get_instance_id())", "ann")
            assert (await end("return str(await store_get('key'))", "bob")).value == "None"
            assert (await end("return str(await store_delete('key'))", "bob")).value == "False"
            assert (await end("return str(len(await store_get('key')))", "ann")).value == "12"

    asyncio.run(play())


def test_a_damaged_file_stops_the_server_before_it_loads_a_model(tmp_path):
    from pie_core.controller import Controller, Settings
    from pie_core.errors import ConfigError

    (tmp_path / "store.sqlite3").write_bytes(b"nonsense" * 200)

    async def play():
        with pytest.raises(ConfigError, match="is not a database"):
            async with Controller(Settings("no such model", state_dir=tmp_path)):
                pass

    asyncio.run(play())
