"""What the server says over plain HTTP, and to whom it says nothing."""

import asyncio
import os
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from pie_core.client import Client
from pie_core.controller import Settings
from pie_core.errors import PieError, ProtocolError, ResourceError
from pie_core.server.address import listen, url_of
from pie_core.server.serve import serving

FOREVER = Path(__file__).parent / "programs" / "forever.py"


def get(test):
    """A test with an HTTP client of the server."""

    async def whole(server):
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
            await test(server, http)

    return whole


def test_health_models_and_plugins_are_shown(with_server):
    @get
    async def test(server, http):
        assert (await http.get("/livez")).json() == {"status": "alive"}
        assert (await http.get("/readyz")).json() == {"status": "ready", "models": ["fake"]}
        (model,) = (await http.get("/v1/facts")).json()["models"]
        assert model["info"]["name"] == "fake"
        assert model["pools"]["kvpage"] == {"free": 64, "capacity": 64}
        assert "forward" in model["traits"]
        plugins = (await http.get("/v1/plugins")).json()["plugins"]
        assert {"kind": "backends", "name": "fake", "package": "pie-fake", "version": "1.0"} in plugins

    with_server(test)


def test_inferlets_are_listed_shown_and_stopped(with_server):
    @get
    async def test(server, http):
        async with Client(server.url) as client:
            inferlet = await client.launch(FOREVER)
            address = f"/v1/inferlets/{inferlet.id}"
            (facts,) = (await http.get("/v1/inferlets")).json()["inferlets"]
            assert facts["id"] == inferlet.id
            assert (await http.get(address)).json()["program"] == "forever"
            assert (await http.delete(address)).json() == {"stopped": inferlet.id}
            with pytest.raises(PieError, match="stopped over HTTP"):
                await inferlet.result()
            assert (await http.delete(address)).status_code == 404

    with_server(test)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/inferlets/nobody", 404),
        ("DELETE", "/v1/inferlets/nobody", 404),
        ("GET", "/nowhere", 404),
        ("POST", "/v1/inferlets", 405),
        ("GET", "/v1/inferlets/%00%ff", 404),
        ("GET", "/v1/ws", 404),
    ],
)
def test_bad_requests_get_json_that_says_what_is_wrong(with_server, method, path, status):
    @get
    async def test(server, http):
        response = await http.request(method, path)
        assert response.status_code == status
        error = response.json()["error"]
        assert error["code"]
        assert error["message"]

    with_server(test)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "["},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
    ],
)
def test_web_pages_are_refused_because_they_could_run_programs(with_server, headers):
    @get
    async def test(server, http):
        response = await http.get("/v1/inferlets", headers=headers)
        assert response.status_code == 403
        assert response.json()["error"]["code"] == "protocol"
        with pytest.raises(InvalidStatus, match="403"):
            async with server.raw(additional_headers={"Origin": headers.get("Origin", "http://evil.example")}):
                pass

    with_server(test)


def test_a_page_of_the_server_itself_is_let_in(with_server):
    @get
    async def test(server, http):
        assert (await http.get("/v1/inferlets", headers={"Origin": server.url})).status_code == 200

    with_server(test)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_any_name_of_this_machine_is_let_in(with_server, name):
    @get
    async def test(server, http):
        host = f"{name}:{server.url.rsplit(':', 1)[1]}"
        assert (await http.get("/v1/inferlets", headers={"Host": host})).status_code == 200

    with_server(test)


def test_while_the_model_loads_the_server_is_alive_but_not_ready(tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    async def test():
        with listen("127.0.0.1", 0) as listener:
            url = url_of(listener)
            async with httpx.AsyncClient(base_url=url, trust_env=False) as http, asyncio.TaskGroup() as group:
                group.create_task(look(http, url))
                async with serving(Settings("fake", "fake", {"gate": str(gate)}), listener):
                    assert (await http.get("/readyz")).status_code == 200

    async def look(http, url):
        assert (await http.get("/livez")).status_code == 200
        for path in ("/readyz", "/v1/facts", "/v1/inferlets"):
            response = await http.get(path)
            assert response.status_code == 503
            assert "still being loaded" in response.json()["error"]["message"]
        with pytest.raises(ProtocolError, match="not ready; see /readyz"):
            async with Client(url):
                pass
        await asyncio.to_thread(gate.write_text, "open")

    asyncio.run(test())


def test_a_model_that_does_not_load_ends_the_server_with_the_reason():
    async def test():
        with listen("127.0.0.1", 0) as listener:
            async with serving(Settings("fake", "fake", {"fail": "no room on the device"}), listener):
                pass

    with pytest.raises(ResourceError, match="no room on the device"):
        asyncio.run(test())
