"""A real server that writes a trace: requests, inferlets, their calls, steps on the device, a kill in the middle."""

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from pie_core.controller import Settings
from pie_core.errors import ConfigError
from pie_core.server.address import listen, url_of
from pie_core.server.serve import serving

from .reading import check, check_commands, read

INSTALLED = Path(__file__).parent.parent / "server" / "installed"
GENERATE = """
from inferlet import get_auto_model, spawn


async def main():
    with get_auto_model().create_context() as context:
        await context.fill("Hello,")
        return await context.generate_until(max_token=20)
"""
WAIT = "from inferlet import receive\n\nasync def main():\n    await receive()\n"


async def launch(url, source, request):
    """The id of an inferlet that was launched over a connection with this id, once it has ended."""
    address = url.replace("http", "ws", 1) + "/v1/ws"
    async with connect(address, proxy=None, additional_headers={"X-Request-Id": request}) as socket:
        await socket.send(json.dumps({"type": "launch", "request": 1, "name": "mine", "source": source}))
        launched = json.loads(await socket.recv())
        while json.loads(await socket.recv()).get("event", {}).get("type") != "ended":
            pass
        return launched["id"]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The trace of a server that two programs were run on, their ids by request, and the server's statistics."""
    path = tmp_path_factory.mktemp("traces") / "trace.json"

    async def run():
        settings = Settings("fake", "fake", {"answer": "Hello, world!"}, tier="native", trace_file=path)
        with listen("127.0.0.1", 0) as listener:
            async with serving(settings, listener) as state:
                url = url_of(listener)
                ids = {request: await launch(url, GENERATE, request) for request in ("mine-1", "mine-2")}
                (model,) = state.controller.models.values()
                return ids, model.layer.statistics

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(INSTALLED))
        ids, statistics = asyncio.run(run())
    trace = check(read(path.read_text()))
    check_commands(trace)
    return trace, ids, statistics


def test_an_inferlet_is_shown_with_the_id_of_the_request_that_launched_it(served):
    trace, ids, _ = served
    assert {begin["args"]["request"]: begin["args"]["id"] for begin, _ in trace.lives} == ids
    for begin, end in trace.lives:
        assert trace.groups[begin["pid"]] == f"mine {begin['args']['id']}"
        assert begin["args"].items() >= {"program": "mine", "user": "local"}.items()
        assert end["args"] == {"status": "finished"}


def test_the_calls_of_a_program_lie_in_its_life_and_name_what_it_enqueued(served):
    trace, _, _ = served
    for begin, end in trace.lives:
        group = trace.groups[begin["pid"]]
        calls = [span for where, _, span in trace.of("calls") if where == group]
        assert all(begin["ts"] <= span["ts"] <= span["ts"] + span["dur"] <= end["ts"] for span in calls)
        called = Counter(span["name"] for span in calls)
        enqueued = Counter(command["name"] for who, command, _ in trace.commands() if who == begin["args"]["id"])
        assert enqueued
        assert all(called[name] == count for name, count in enqueued.items())
        assert called["tokenize"]


def test_batches_and_steps_on_the_device_are_those_of_the_statistics(served):
    trace, _, statistics = served
    ran = Counter(span["name"] for _, track, span in trace.of("device") if track == "device")
    assert ran == Counter({name: calls.batches for name, calls in statistics.calls.items()})
    assert ran["decode"] > statistics.calls["decode"].commands, "it ran in steps"


def test_what_the_device_ran_lies_in_a_wave_or_in_a_command_that_runs_in_steps(served):
    trace, _, _ = served
    within = [part for _, part in trace.waves()] + [command for _, command, _ in trace.commands()]
    for _, _, span in trace.of("device"):
        assert any(
            other["ts"] <= span["ts"] and span["ts"] + span["dur"] <= other["ts"] + other["dur"] for other in within
        )


def test_the_trace_of_a_server_that_is_killed_shows_who_was_running(tmp_path):
    path = tmp_path / "trace.json"
    command = [sys.executable, "-m", "pie_core.cli", "serve", "fake", "--backend", "fake", "--native", "--port", "0"]
    environment = {"PYTHONPATH": str(INSTALLED), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    with subprocess.Popen(
        [*command, "--trace-file", str(path)], env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            url = server.stdout.readline().split()[-1]
            asyncio.run(kill_while_it_runs(url, server, path))
        finally:
            server.kill()
    trace = check(read(path.read_text()))
    ((begin, end),) = trace.lives
    assert begin["args"]["request"] == "mine-3"
    assert end is None


async def kill_while_it_runs(url, server, path):
    launched = asyncio.create_task(launch(url, WAIT, "mine-3"))
    async with asyncio.timeout(30):
        while "mine-3" not in path.read_text():
            await asyncio.sleep(0.01)
    server.send_signal(signal.SIGKILL)
    with pytest.raises(ConnectionClosed):
        await launched


def test_a_trace_that_cannot_be_written_is_told_before_a_model_is_loaded(tmp_path):
    async def run():
        settings = Settings("none", "none", trace_file=tmp_path / "nowhere" / "trace.json")
        with listen("127.0.0.1", 0) as listener:
            async with serving(settings, listener):
                pass

    with pytest.raises(ConfigError, match="--trace-file"):
        asyncio.run(run())
