"""The small tool server that comes with the programs: what it answers, and how it is started."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from pie_inferlets.tools.server import FACTS, LONGEST_BODY, ToolServer, read_facts

MORNING = datetime(2031, 1, 2, 8, 5, tzinfo=ZoneInfo("UTC"))


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with ToolServer(("127.0.0.1", 0), read_facts(FACTS), MORNING.astimezone) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("23 * 45", "1035"),
        ("(1 + 2) * -3", "-9"),
        ("0.1 + 0.2", "0.3"),
        ("10 / 3", "3.33"),
        ("17 * 9 / 5 + 32", "62.6"),
        (" 7 ", "7"),
    ],
)
def test_sums_are_exact(port: int, expression: str, answer: str) -> None:
    assert ask(port, "POST", "/calculator", expression.encode()) == (200, answer)


@pytest.mark.parametrize(
    "expression",
    ["", "1 +", "1 / 0", "2 ** 9", "x", "__import__('os')", "(" * 3000, "-" * 9000 + "1", "'a' * 3", "\xff"],
)
def test_what_is_no_sum_is_refused(port: int, expression: str) -> None:
    assert ask(port, "POST", "/calculator", expression.encode("latin-1")) == (400, "not a sum")


@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("time", "08:05"),
        ("date", "2031-01-02"),
        ("year", "2031"),
        ("time in Tokyo", "17:05"),
        ("date in Lima", "2031-01-02"),
    ],
)
def test_the_clock_knows_times_and_places(port: int, what: str, answer: str) -> None:
    assert ask(port, "GET", f"/clock?what={quote(what)}") == (200, answer)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/clock?what=phase", 404),
        ("GET", "/clock?what=time%20in%20Atlantis", 404),
        ("GET", "/lookup?key=nothing", 404),
        ("GET", "/lookup", 404),
        ("GET", "/", 404),
        ("POST", "/lookup", 404),
    ],
)
def test_what_it_does_not_know_is_not_found(port: int, method: str, path: str, status: int) -> None:
    assert ask(port, method, path, b"" if method == "POST" else None)[0] == status


def test_facts_are_looked_up_and_bodies_are_bounded(port: int) -> None:
    assert ask(port, "GET", "/lookup?key=capital%20of%20Norway") == (200, "Oslo")
    assert ask(port, "POST", "/calculator", b"1" * (LONGEST_BODY + 1))[0] == 413


def test_it_is_started_with_one_command(tmp_path: Path) -> None:
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps({"price of zorp": "7"}))
    command = [sys.executable, "-m", "pie_inferlets.tools", "--port", "0", "--facts", str(facts)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("tools at http://127.0.0.1:")
            assert ask(int(line.rpartition(":")[2]), "GET", "/lookup?key=price%20of%20zorp") == (200, "7")
        finally:
            process.terminate()


@pytest.mark.parametrize("content", ["[]", '{"a": 5}', "{"])
def test_facts_that_are_none_are_an_error_that_names_the_file(tmp_path: Path, content: str) -> None:
    facts = tmp_path / "facts.json"
    facts.write_text(content)
    done = subprocess.run(
        [sys.executable, "-m", "pie_inferlets.tools", "--facts", str(facts)], capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr.startswith(f"Error: {facts}: ")
