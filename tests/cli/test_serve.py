"""`pie-core serve`, `ps` and `stop`, from start to end in processes of their own."""

import json
import os
import platform
import signal
import socket

import httpx
import pytest

from pie_core.client import SyncClient
from pie_core.errors import ProtocolError, ResourceError, TerminatedError

AGAIN = """
import resource, threading

def allocate(kept, faults):  # blocks that stay, so that those that go lie at every place of a thread's heap of 64 MiB
    for _ in range(16):
        kept.extend(bytearray(100_000) for _ in range(60))
        bytearray(8 << 20)
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        for _ in range(5):
            bytearray(8 << 20)
        faults.append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)

async def main():
    faults = []
    thread = threading.Thread(target=allocate, args=([], faults))
    thread.start()
    thread.join()
    print(max(faults))
"""


def test_a_served_program_runs_like_a_local_one(pie_core, programs):
    with pie_core.serve() as (_, url):
        done = pie_core.run("run", "--server", url, "-i", programs / "echo.py", stdin="one\ntwo\nbye\n")
        assert (done.stdout, done.stderr, done.returncode) == ("onetwo\ndone\n", "", 0)
        done = pie_core.run("run", "--server", url, programs / "fails.py")
        assert (done.stdout, done.returncode) == ("so far so good\n", 1)
        assert done.stderr.endswith("ValueError: no such luck\n")
        done = pie_core.run("run", "--server", url, "text_competition")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "did you mean 'text_completion'" in done.stderr


def test_ctrl_c_stops_a_served_program_too(pie_core, programs):
    with (
        pie_core.serve() as (_, url),
        pie_core.start("run", "--server", url, programs / "forever.py", PYTHONUNBUFFERED="1") as process,
    ):
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (130, "stopped: interrupted\n")
        assert json.loads(pie_core.run("ps", "--server", url, "--json").stdout) == []


def test_when_the_server_dies_the_client_says_so(pie_core, programs):
    with (
        pie_core.serve() as (server, url),
        pie_core.start("run", "--server", url, programs / "forever.py", PYTHONUNBUFFERED="1") as process,
    ):
        process.stdout.read(1)
        server.kill()
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 1
        assert errors.startswith(f"Error: the server {url} has closed the connection")


def test_ps_lists_and_stop_stops(pie_core, programs):
    with pie_core.serve() as (_, url), SyncClient(url) as client:
        inferlet = client.launch(programs / "forever.py")
        inferlet.receive()
        shown = pie_core.run("ps", PIE_SERVER=url)
        assert inferlet.id in shown.stdout
        assert "8 kvpage" in shown.stdout
        (facts,) = json.loads(pie_core.run("ps", "--server", url, "--json").stdout)
        assert (facts["id"], facts["program"]) == (inferlet.id, "forever")
        stopped = pie_core.run("stop", inferlet.id, "nobody", PIE_SERVER=url)
        assert (stopped.returncode, "'nobody'" in stopped.stderr) == (1, True)
        with pytest.raises(TerminatedError, match="pie-core stop"):
            inferlet.result()
        assert json.loads(pie_core.run("ps", "--server", url, "--json").stdout) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_inferlets_tells_the_clients_and_ends_with_0(pie_core, programs, number):
    with pie_core.serve("--drain", 0) as (process, url), SyncClient(url) as client:
        inferlet = client.launch(programs / "forever.py")
        inferlet.receive()
        process.send_signal(number)
        with pytest.raises(TerminatedError, match="the server shuts down"):
            inferlet.result()
        process.communicate(timeout=20)
        assert process.returncode == 0
        with pytest.raises(ProtocolError, match="the server shuts down"):
            client.ping()


def test_after_sigterm_what_runs_goes_on_to_its_end_and_nothing_else_is_launched(pie_core, programs):
    with pie_core.serve("--drain", 60) as (process, url), SyncClient(url) as client:
        inferlet = client.launch(programs / "echo.py")
        process.send_signal(signal.SIGTERM)
        while httpx.get(f"{url}/readyz", trust_env=False).status_code == 200:
            pass
        with pytest.raises(ResourceError, match="the server shuts down and launches nothing any more"):
            client.launch(programs / "echo.py")
        inferlet.send("still here")
        assert inferlet.receive() == "still here"
        inferlet.send("bye")
        assert inferlet.result() == "done"
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0
        assert [e["inferlets"] for e in map(json.loads, errors.splitlines()) if e["event"] == "server.draining"] == [1]


def test_a_program_that_does_not_end_is_stopped_when_the_time_is_over(pie_core, programs):
    with pie_core.serve("--drain", 0.2) as (process, url), SyncClient(url) as client:
        inferlet = client.launch(programs / "forever.py")
        inferlet.receive()
        process.send_signal(signal.SIGTERM)
        with pytest.raises(TerminatedError, match="the server shuts down"):
            inferlet.result()
        process.communicate(timeout=30)
        assert process.returncode == 0


def test_a_second_signal_ends_at_once(pie_core, programs):
    with pie_core.serve("--native") as (process, url), SyncClient(url) as client:
        client.launch(programs / "busy.py")
        assert process.stdout.readline() == "busy now\n"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode in (130, 143)


def test_a_signal_while_the_model_loads_ends_at_once(pie_core, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with pie_core.start("serve", "fake", "--backend", "fake", "--port", 0, "-o", f"gate={gate}") as process:
        while "weights" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_the_log_is_json_lines_and_its_level_can_be_set(pie_core):
    with pie_core.serve() as (process, url):
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
        events = [json.loads(line) for line in errors.splitlines()]
        assert [e for e in events if e["event"] == "server.ready" and e["url"] == url]
        assert events[-1]["event"] == "server.stopping"
    with pie_core.serve("--log-level", "warning") as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=20)[1] == ""


def test_a_port_in_use_is_an_error_before_a_model_is_loaded(pie_core, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = pie_core.run("serve", "fake", "--backend", "fake", "--port", port, "-o", f"gate={tmp_path / 'none'}")
    assert done.returncode == 1
    assert f"port {port}: the port is in use" in done.stderr
    assert "model.loading" not in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--native", "--host", "0.0.0.0"], "--trust-programs"),
        (["--host", "no such host", "--trust-programs"], "no address of this machine"),
        (["--backend", "torhc"], "no backends plugin is named 'torhc'"),
        (["--backend", "fake", "-o", "page=1"], "did you mean 'pages'"),
        (["--backend", "fake", "-o", "fail=no room"], "no room"),
    ],
)
def test_what_cannot_be_served_is_one_clear_message(pie_core, words, says):
    done = pie_core.run("serve", "fake", "--port", 0, "--log-level", "error", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr


def test_a_trusted_server_may_listen_everywhere(pie_core):
    with pie_core.serve("--native", "--host", "0.0.0.0", "--trust-programs") as (_, url):
        port = url.rsplit(":", 1)[1]
        assert httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200


def test_collecting_garbage_does_not_walk_through_what_is_loaded(pie_core, tmp_path):
    (tmp_path / "frozen.py").write_text("import gc\n\nasync def main():\n    print(gc.get_freeze_count())\n")
    with pie_core.serve("--native") as (_, url):
        done = pie_core.run("run", "--server", url, tmp_path / "frozen.py")
    assert int(done.stdout) > 10_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives freed memory back at once")
def test_a_thread_gets_memory_that_it_has_freed_without_page_faults(pie_core, tmp_path):
    (tmp_path / "again.py").write_text(AGAIN)
    with pie_core.serve("--native") as (_, url):
        done = pie_core.run("run", "--server", url, tmp_path / "again.py")
    assert int(done.stdout) < 2048  # one block has as many pages


def test_ps_without_a_server_says_how_to_start_one(pie_core):
    done = pie_core.run("ps", "--server", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "pie-core serve" in done.stderr
