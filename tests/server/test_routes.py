"""Packages bring routes (hook `pie_routes`), which launch inferlets and are described; those that fail are left out."""

from __future__ import annotations

import httpx
import pytest

GREETING = """
from starlette.responses import JSONResponse
from pie_core import hookimpl
from pie_core.application.events import Ended
from pie_core.application.program import Program
from pie_core.server.routes import Route, Routes, RoutesSpec, attended

PROGRAM = Program("greet", "from inferlet import *\\nasync def main(): return 'hello ' + get_arg()[0]", "greet.py")

def build(gate):
    async def greet(request):
        await request.body()
        run = await gate.launch(request, PROGRAM, [request.path_params["name"]])
        running = [dict(facts) for facts in gate.inferlets(request)]
        try:
            said = await attended(request, collect(run))
        finally:
            run.stop()
        shown = {"running": running, "models": list(gate.models), "programs": list(gate.programs)}
        return JSONResponse({"said": said, **shown})
    async def collect(run):
        return [event.value async for event in run.events() if isinstance(event, Ended)]
    route = Route("POST", "/v1/{name}/greeting", greet, {"summary": "Greet."})
    return Routes([route], {"Greeting": {"type": "object"}})

@hookimpl
def pie_routes():
    return RoutesSpec("greeting", build)
"""
TAKEN = """
from pie_core import hookimpl
from pie_core.server.routes import Route, Routes, RoutesSpec

@hookimpl
def pie_routes():
    return RoutesSpec("taken", lambda gate: Routes([Route("GET", "/livez", None, {})], {}))
"""
BROKEN = """
from pie_core import hookimpl
from pie_core.server.routes import RoutesSpec

@hookimpl
def pie_routes():
    return RoutesSpec("broken", lambda gate: 1 / 0)
"""


def test_a_strangers_route_is_mounted_described_and_runs_inferlets(with_server, install):
    install("acme-greeting", {"acme_greeting": GREETING}, {"pie_core.routes": {"greeting": "acme_greeting"}})

    async def test(server):
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
            answer = (await http.post("/v1/Ann/greeting", content=b"")).json()
            running = answer.pop("running")
            assert answer == {"said": ["hello Ann"], "models": ["fake"], "programs": list(server.controller.programs)}
            assert [(facts["program"], facts["status"]) for facts in running] == [("greet", "running")]
            assert (await http.get("/v1/Ann/greeting")).status_code == 405
            described = (await http.get("/openapi.json")).json()
        operation = described["paths"]["/v1/{name}/greeting"]["post"]
        assert operation["summary"] == "Greet."
        assert [parameter["name"] for parameter in operation["parameters"]] == ["name"]
        assert described["components"]["schemas"]["Greeting"] == {"type": "object"}
        assert "/v1/inferlets/{id}" in described["paths"]

    with_server(test)


@pytest.mark.parametrize(
    ("source", "says"),
    [(TAKEN, "pie-core answers GET /livez already"), (BROKEN, "ZeroDivisionError"), ("raise SystemExit", "imported")],
)
def test_routes_that_fail_are_left_out_with_a_warning(with_server, install, capsys, source, says):
    install("acme-odd", {"acme_odd": source}, {"pie_core.routes": {"odd": "acme_odd"}})

    async def test(server):
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
            assert (await http.get("/livez")).json() == {"status": "alive"}

    with_server(test)
    assert says in capsys.readouterr().out
