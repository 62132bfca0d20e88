"""Keys at the door, and walls between users: every request there is, with somebody else's object.

A request or a route that is in no table here fails the test of the table: whoever adds one has to decide.
"""

from __future__ import annotations

import asyncio
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pie_core.application.limits import Limits
from pie_core.application.quotas import Quota, Quotas
from pie_core.client import Client, SyncClient
from pie_core.errors import AuthenticationError, BusyError, ProtocolError
from pie_core.server import protocol as p
from pie_core.server.access import Access
from pie_core.server.keys import KeyFile, Keyring

PROGRAMS = Path(__file__).parent / "programs"
FOREVER = PROGRAMS / "forever.py"


@pytest.fixture
def keys(tmp_path):
    """Keys of alice, bob and an operator."""
    file = KeyFile(tmp_path / "keys.json")
    texts = {user: file.add(user, operator=user == "op")[1] for user in ("alice", "bob", "op")}
    return SimpleNamespace(file=file, access=Access(Keyring(file)), **texts)


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def with_keys(with_server, keys):
    """Run `async def test(server)` against a server with these keys."""

    def run(test, **settings):
        with_server(test, access=keys.access, **{"tier": "native"} | settings)

    return run


# at the door


def test_without_a_key_there_is_health_and_nothing_else(with_keys, keys):
    async def test(server):
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
            for path in ("/livez", "/readyz"):
                assert (await http.get(path)).status_code == 200
            core = [path for _, path in ROUTES if path not in ("/livez", "/readyz")]
            for path in (*core, "/openapi.json", "/nowhere"):
                refused = await http.get(path)
                assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer"), path
                assert refused.json()["error"]["code"] == "authentication"
                assert "pie-core keys add" in refused.json()["error"]["message"]
            assert (await http.post("/livez")).status_code == 401
            for wrong in (
                "Basic YWxpY2U6eA==",
                "Bearer",
                "Bearer -",
                f"Bearer {keys.alice}x",
                keys.alice,
                "Bearer \xff",
            ):
                refused = await http.get("/v1/facts", headers={"Authorization": wrong.encode("latin-1")})
                assert refused.status_code == 401, wrong
            for good in (f"Bearer {keys.alice}", f"bearer  {keys.alice}"):
                assert (await http.get("/v1/facts", headers={"Authorization": good})).status_code == 200

    with_keys(test)


def test_without_keys_a_key_does_no_harm(with_server):
    async def test(server):
        async with Client(server.url, api_key="none") as client:
            await client.ping()

    with_server(test)


def test_the_client_library_sends_the_key_it_is_given_or_that_of_the_environment(with_keys, keys, monkeypatch):
    async def test(server):
        monkeypatch.delenv("PIE_API_KEY", raising=False)
        with pytest.raises(AuthenticationError, match="the server needs a key"):
            async with Client(server.url):
                pass
        with pytest.raises(AuthenticationError, match="does not know this key"):
            async with Client(server.url, api_key="pie-00000000-none"):
                pass
        async with Client(server.url, api_key=keys.alice) as client:
            assert (await (await client.launch(FOREVER)).receive()) and len(await client.list()) == 1
        monkeypatch.setenv("PIE_API_KEY", keys.bob)
        async with Client(server.url) as client:
            assert (await client.list()) == []

        def synchronously():
            with SyncClient(server.url, api_key=keys.alice) as client:
                client.ping()

        await asyncio.to_thread(synchronously)

    with_keys(test)


def test_a_browser_sends_its_key_as_a_subprotocol(with_keys, keys, caplog):
    async def test(server):
        async with server.raw(subprotocols=["pie", f"pie-key.{keys.alice}"]) as raw:
            assert raw.socket.subprotocol == "pie"
            assert (await raw.ask(type="ping", request=1))["type"] == "done"
        for wrong in (["pie"], ["pie", "pie-key."], ["pie", f"pie-key.{keys.alice}x"], [keys.alice]):
            with pytest.raises(InvalidStatus, match="401"):
                async with server.raw(subprotocols=wrong):
                    pass

    with_keys(test)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []  # strangers do not fill the log


def test_a_key_that_is_removed_stops_working_in_a_connection_that_is_open(with_keys, keys):
    async def test(server):
        async with server.raw(additional_headers=bearer(keys.alice)) as raw:
            await raw.launch("forever")
            (key,) = [key for key in keys.file.read() if key.user == "alice"]
            keys.file.remove(key.id)
            while (error := await raw.ask(type="list", request=7))["type"] == "event":
                pass
            assert (error["type"], error["code"], error["request"]) == ("error", "authentication", 7)
            with pytest.raises(ConnectionClosed) as caught:
                await raw.receive()
            assert caught.value.rcvd.code == 1008
        await server.until(lambda: not server.controller.application.inferlets)
        async with Client(server.url, api_key=keys.bob) as client:
            await client.ping()

    with_keys(test)


def test_when_the_file_cannot_be_read_nobody_is_let_in_and_the_reason_stays_inside(with_keys, keys):
    async def test(server):
        keys.file.path.write_text("{")
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, headers=bearer(keys.alice)) as http:
            refused = await http.get("/v1/facts")
            assert refused.status_code == 401
            assert str(keys.file.path) not in refused.text
            assert (await http.get("/livez")).status_code == 200

    with_keys(test)


# walls: what a request with an object of somebody else gets

DENIED = ("error", "argument")
PROTOCOL = {  # with the id of an inferlet of another user: the reply, and for an operator
    p.Hello: ("welcome", "welcome"),
    p.Ping: ("done", "done"),
    p.Launch: ("wanted", "wanted"),  # by digest, of a component that another user has sent
    p.List: ([], ["victim"]),
    p.Deliver: (DENIED, DENIED),
    p.DeliverBlob: (DENIED, DENIED),
    p.Attach: (DENIED, DENIED),
    p.Stop: (DENIED, "done"),
}
DIGEST = "ab" * 32
FIELDS = {
    p.Hello: {"protocol": 1},
    p.Deliver: {"text": "from outside"},
    p.DeliverBlob: {"data": "AA=="},
    p.Stop: {"why": "I say so"},
    p.Launch: {"name": "stolen", "digest": DIGEST},
}


def test_every_request_of_the_protocol_has_a_decision():
    assert set(PROTOCOL) == set(get_args(p.AnyRequest))


async def ask_for(raw, request_type, victim):
    """The reply to a request that names an inferlet, or a component, of somebody else."""
    fields = FIELDS.get(request_type, {})
    if "id" in request_type.__struct_fields__:
        fields = fields | {"id": victim}
    return await raw.ask(type=request_type.__struct_config__.tag, request=1, **fields)


@pytest.mark.parametrize("who", ["bob", "op"])
def test_what_a_request_gets_that_names_an_inferlet_of_somebody_else(with_keys, keys, who):
    async def test(server):
        server.state.uploaded.add("alice", DIGEST, b"\0asm")
        async with Client(server.url, api_key=keys.alice) as alice:
            victims = {state: await alice.launch(PROGRAMS / "echo.py") for state in ("running", "waiting")}
            ids = [victim.id for victim in victims.values()]
            for request_type, (state, victim) in product(PROTOCOL, victims.items()):
                async with server.raw(additional_headers=bearer(getattr(keys, who))) as raw:
                    reply = await ask_for(raw, request_type, victim.id)
                case, expected = (request_type.__name__, state), PROTOCOL[request_type][who == "op"]
                if request_type is p.List:
                    assert [facts["id"] for facts in reply["inferlets"]] == (ids if expected else []), case
                elif expected == DENIED:
                    assert (reply["type"], reply["code"]) == DENIED, case
                    assert reply["message"] == f"no running inferlet has the id {victim.id!r}; there is none", case
                else:
                    assert reply["type"] == expected, case
                if expected == DENIED:
                    assert victim.id in server.controller.application.inferlets, case
            if who == "bob":
                for victim in victims.values():
                    await victim.send("still here")
                    await victim.send("bye")
                    assert [await victim.receive(), await victim.result()] == ["still here", "done"]

    with_keys(test, limits=Limits(max_inferlets=1), tier="wasm")  # which is sent components


CORE = ("/livez", "/readyz", "/metrics", "/v1/facts", "/v1/plugins", "/v1/inferlets")
ROUTES = {  # of the core, of an inferlet of alice: what bob gets, and what an operator gets
    ("GET", "/livez"): (200, 200),
    ("GET", "/readyz"): (200, 200),
    ("GET", "/metrics"): (403, 200),
    ("GET", "/v1/facts"): (200, 200),
    ("GET", "/v1/plugins"): (200, 200),
    ("GET", "/v1/inferlets"): ([], ["victim"]),
    ("GET", "/v1/inferlets/{id}"): (404, 200),
    ("DELETE", "/v1/inferlets/{id}"): (404, 200),
}


def test_every_route_of_the_core_has_a_decision_and_gives_it(with_keys, keys):
    async def test(server):
        async with (
            Client(server.url, api_key=keys.alice) as alice,
            httpx.AsyncClient(base_url=server.url, trust_env=False) as http,
        ):
            paths = (await http.get("/openapi.json", headers=bearer(keys.bob))).json()["paths"]
            core = {(method.upper(), path) for path in paths if path.startswith(CORE) for method in paths[path]}
            assert core == set(ROUTES)
            victim = await alice.launch(FOREVER)
            for place, who in enumerate(("bob", "op")):
                for (method, path), expected in ROUTES.items():
                    answer = await http.request(method, path.format(id=victim.id), headers=bearer(getattr(keys, who)))
                    if isinstance(expected[place], list):
                        listed = [facts["id"] for facts in answer.json()["inferlets"]]
                        assert listed == ([victim.id] if expected[place] else [])
                    else:
                        assert answer.status_code == expected[place], (method, path, who)
                if who == "bob":
                    assert victim.id in server.controller.application.inferlets

    with_keys(test)


HOARD = """
from inferlet import *

async def main():
    q = get_auto_model().create_queue()
    export_kvpage(alloc_kvpage(q, 2), "secret")
    await store_set("secret", "of alice")
    heard = subscribe("secret")
    send("ready")
    return await heard.receive()
"""
PROBES = {  # calls of a program that name something: what a program of somebody else gets
    "import": ("return str(import_kvpage('secret'))", "no exported pages are named 'secret'; there is none"),
    "release": ("return str(release_kvpage('secret'))", "no exported pages are named 'secret'; there is none"),
    "exports": ("return str(exported_kvpages())", "[]"),
    "export": ("export_kvpage(alloc_kvpage(q, 1), 'secret')\n        return 'a name of my own'", "a name of my own"),
    "get": ("return str(await store_get('secret'))", "None"),
    "exists": ("return str(await store_exists('secret'))", "False"),
    "keys": ("return str(await store_list_keys())", "[]"),
    "delete": ("return str(await store_delete('secret'))", "False"),
    "broadcast": ("broadcast('secret', 'of bob')\n        return 'nobody heard'", "nobody heard"),
}


def test_what_a_program_of_somebody_else_reaches_by_name(with_keys, keys, tmp_path):
    def program(name, source):
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        return path

    async def test(server):
        async with (
            Client(server.url, api_key=keys.alice) as alice,
            Client(server.url, api_key=keys.bob) as bob,
            Client(server.url, api_key=keys.alice) as alice_too,
        ):
            hoard = await alice.launch(program("hoard", HOARD))
            assert await hoard.receive() == "ready"
            for name, (does, told) in PROBES.items():
                source = f"""
from inferlet import *

async def main():
    q = get_auto_model().create_queue()
    try:
        {does}
    except PieError as error:
        return str(error)
"""
                inferlet = await bob.launch(program(name, source))
                assert told in (await inferlet.result() or ""), name
            assert hoard.outcome is None
            whisper = "from inferlet import *\nasync def main():\n    broadcast('secret', await store_get('secret'))\n"
            await (await alice_too.launch(program("whisper", whisper))).result()
            assert await hoard.result() == "of alice"

    with_keys(test)


# quotas at the door


def test_requests_over_the_quota_get_429_and_busy_and_others_notice_nothing(with_keys, keys):
    async def test(server):
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
            for _ in range(3):
                assert (await http.get("/v1/facts", headers=bearer(keys.alice))).status_code == 200
            refused = await http.get("/v1/facts", headers=bearer(keys.alice))
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "busy")
            assert 1 <= int(refused.headers["Retry-After"]) <= 60
            assert "requests_per_minute" in refused.json()["error"]["message"]
            assert (await http.get("/livez", headers=bearer(keys.alice))).status_code == 200
            async with Client(server.url, api_key=keys.alice) as alice, Client(server.url, api_key=keys.bob) as bob:
                with pytest.raises(BusyError, match="3 per minute"):
                    await alice.launch(FOREVER)
                inferlet = await bob.launch(FOREVER)
                with pytest.raises(BusyError):
                    await alice.ping()
                await bob.ping()
                await bob.list()
                with pytest.raises(BusyError):
                    await bob.list()
                await bob.stop(inferlet.id)  # what ends something is always let in
            assert (await http.delete("/v1/inferlets/x", headers=bearer(keys.alice))).status_code == 404

    with_keys(test, quotas=Quotas(Quota(requests_per_minute=3)))


def test_too_many_inferlets_of_one_user_are_busy_and_another_launches(with_keys, keys):
    async def test(server):
        async with Client(server.url, api_key=keys.alice) as alice, Client(server.url, api_key=keys.bob) as bob:
            inferlet = await alice.launch(FOREVER)
            with pytest.raises(BusyError, match=r"of 1 allowed at a time \(quota `inferlets`\)"):
                await alice.launch(FOREVER)
            await bob.launch(FOREVER)
            await bob.launch(FOREVER)
            await alice.stop(inferlet.id)
            await alice.launch(FOREVER)

    with_keys(test, quotas=Quotas(Quota(inferlets=1), {"bob": Quota(inferlets=2)}))


def test_a_program_over_its_users_computing_time_rests_and_a_launch_is_refused_until_then(with_keys, keys, tmp_path):
    hog = tmp_path / "hog.py"
    hog.write_text("async def main():\n    while True:\n        sum(range(1000))\n")

    async def test(server):
        async with Client(server.url, api_key=keys.alice) as alice, Client(server.url, api_key=keys.bob) as bob:
            inferlet = await alice.launch(hog)
            account = server.controller.application.accounts.of("alice")
            await server.until(lambda: account.rest_s() > 0)
            with pytest.raises(BusyError, match="quota `cpu_s_per_minute`") as caught:
                await alice.launch(hog)
            assert "try again in" in str(caught.value)
            assert await (await bob.launch(FOREVER)).receive()
            await alice.stop(inferlet.id)

    with_keys(test, quotas=Quotas(Quota(cpu_s_per_minute=0.3), {"bob": Quota()}), tier="wasm")


def test_another_thing_at_the_address_is_said_to_be_none_of_ours():
    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
        await writer.drain()
        writer.close()

    async def whole():
        async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(ProtocolError, match="HTTP 401: it is no pie-core server"):
                async with Client(f"http://127.0.0.1:{port}", api_key="x"):
                    pass

    asyncio.run(whole())
