"""The client library against a real server."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from pie_core.application.capabilities import Capabilities
from pie_core.application.events import Blob, Ended, Message
from pie_core.application.limits import Limits
from pie_core.application.program import Program
from pie_core.client import Allow, Client, SyncClient, connect
from pie_core.client.remote import error_from
from pie_core.errors import (
    ArgumentError,
    ConfigError,
    HandleError,
    PieError,
    ProgramError,
    ProtocolError,
    ResourceError,
    TerminatedError,
    TraitError,
)

PROGRAMS = Path(__file__).parent / "programs"
ECHO, FOREVER, FAILS = (PROGRAMS / f"{name}.py" for name in ("echo", "forever", "fails"))
LEVITATES = '# /// inferlet\n# traits = ["levitate"]\n# ///\nasync def main(): pass'


def test_events_come_in_order_and_the_end_is_the_last(with_client):
    async def test(server, client):
        inferlet = await client.launch(ECHO)
        for text in ("one", "blob", "two", "bye"):
            await inferlet.send(text)
            if text == "blob":
                await inferlet.send_blob(b"\x00\xff")
        events = [event async for event in inferlet]
        assert events == [Message("one"), Blob(b"\x00\xff"), Message("two"), Ended("finished", value="done")]
        assert await inferlet.result() == "done"

    with_client(test)


def test_blobs_go_with_the_launch(with_client):
    async def test(server, client):
        inferlet = await client.launch(ECHO, blobs=[b"first", b"\x00\xff"])
        for text in ("blob", "blob", "bye"):
            await inferlet.send(text)
        assert [await inferlet.receive_blob() for _ in range(2)] == [b"first", b"\x00\xff"]

    with_client(test)


def test_receive_takes_messages_and_leaves_the_rest(with_client):
    async def test(server, client):
        inferlet = await client.launch(ECHO)
        for text in ("blob", "text"):
            await inferlet.send(text)
        await inferlet.send_blob(b"data")
        assert await inferlet.receive() == "text"
        assert await inferlet.receive_blob() == b"data"
        await inferlet.send("bye")
        with pytest.raises(TerminatedError, match="has finished"):
            await inferlet.receive()

    with_client(test)


def test_the_error_of_a_program_is_raised_with_its_traceback(with_client):
    async def test(server, client):
        inferlet = await client.launch(FAILS)
        with pytest.raises(ProgramError, match=r"fails.py.*line 8.*\n.*\nValueError: no such luck"):
            await inferlet.result()
        assert await inferlet.receive() == "so far so good"
        with pytest.raises(ProgramError, match="no such luck"):
            await inferlet.receive()

    with_client(test)


@pytest.mark.parametrize(
    ("program", "kind", "says"),
    [
        ("text_competition", ProgramError, "did you mean 'text_completion'"),
        (PROGRAMS / "none.py", ProgramError, "does not exist"),
        ("none.py", ProgramError, "does not exist"),
        (Program("a", "def f(", "a.py"), ProgramError, "a.py:1:"),
        (Program("a", LEVITATES, "a.py"), TraitError, "levitate"),
        (Program("a", "#" * 3000, "a.py"), ArgumentError, "2000 are allowed"),
    ],
)  # fmt: skip
def test_what_the_server_refuses_is_raised_as_the_error_it_was(with_client, program, kind, says):
    async def test(server, client):
        with pytest.raises(kind, match=says):
            await client.launch(program)
        await client.ping()

    with_client(test, Limits(program_bytes=2000))


REACHES = """# /// inferlet
# hosts = ["*"]
# spawn = true
# ///
from inferlet import *
async def main():
    told = []
    for attempt in (lambda: http_get("http://[::1]/"), lambda: http_get("http://a.test:9/"), lambda: spawn("nobody")):
        try:
            await attempt()
        except PieError as error:
            told.append(error.code)
    return " ".join(told)
"""


@pytest.mark.parametrize(
    ("allow", "told"),
    [
        (None, "capability capability program"),
        (Allow(), "capability capability capability"),
        (Allow(["*"], True), "capability capability program"),
    ],
)
def test_a_launch_may_allow_less_than_the_server(with_client, allow, told):
    async def test(server, client):
        inferlet = await client.launch(Program("reaches", REACHES, "reaches.py"), allow=allow)
        assert await inferlet.result() == told
        with pytest.raises(ConfigError, match=r"a host to allow: 'a\.\*'"):
            await client.launch(ECHO, allow=Allow(["a.*"]))

    with_client(test, capabilities=Capabilities.of(["*"], spawn=True), tier="native")


def test_a_child_has_no_reader_but_its_parent(with_client):
    source = (
        REACHES.partition("    told")[0]
        + "    child = spawn('me', source=get_arg()[0])\n    send('up')\n    await receive()"
    )

    async def test(server, client):
        echo = "from inferlet import *\nasync def main(): await receive()"
        parent = await client.launch(Program("parent", source, "parent.py"), [echo])
        assert await parent.receive() == "up"
        await server.until(lambda: len(server.controller.application.inferlets) == 2)
        (child,) = [facts["id"] for facts in await client.list() if facts["parent"] == parent.id]
        with pytest.raises(ArgumentError, match=f"is a child of {parent.id}, which gets its texts"):
            await client.attach(child)
        await parent.stop()
        await server.until(lambda: not server.controller.application.inferlets)

    with_client(test, capabilities=Capabilities.of(spawn=True), tier="native")


def test_a_full_inbox_is_an_error_for_the_sender(with_client):
    async def test(server, client):
        inferlet = await client.launch(FOREVER)
        await inferlet.send("1")
        await inferlet.send("2")
        with pytest.raises(ResourceError, match="2 messages wait"):
            await inferlet.send("3")

    with_client(test, Limits(inbox_messages=2))


def test_a_request_that_is_too_large_is_refused_before_it_is_sent(with_client):
    async def test(server, client):
        inferlet = await client.launch(ECHO)
        with pytest.raises(ProtocolError, match="send less, or in parts"):
            await inferlet.send("x" * server.state.frame_bytes)
        await inferlet.send("bye")
        assert await inferlet.result() == "done"

    with_client(test, Limits(message_bytes=1000, program_bytes=1000))


def test_stopping_twice_is_no_error_and_stopping_a_stranger_is(with_client):
    async def test(server, client):
        inferlet = await client.launch(ECHO)
        await asyncio.gather(inferlet.stop("enough"), inferlet.stop())
        with pytest.raises(TerminatedError, match="enough"):
            await inferlet.result()
        await inferlet.stop()
        with pytest.raises(ArgumentError, match="nobody"):
            await client.stop("nobody")
        assert await client.list() == []

    with_client(test)


def test_what_a_client_has_launched_ends_with_it_unless_detached(with_server):
    async def test(server):
        async with connect(server.url) as client:
            await client.launch(FOREVER)
            detached = await client.launch(ECHO, detach=True)
        await server.until(lambda: len(server.controller.application.inferlets) == 1)
        async with connect(server.url) as client:
            inferlet = await client.attach(detached.id)
            await inferlet.send("hello again")
            assert await inferlet.receive() == "hello again"
            with pytest.raises(ArgumentError, match="only one can"):
                await client.attach(detached.id)

    with_server(test)


def test_events_of_an_inferlet_that_nobody_holds_are_dropped(with_client):
    async def test(server, client):
        await client.launch(FOREVER)
        for _ in range(20):
            await client.ping()
        assert len(client._inferlets) == 0

    with_client(test)


def test_a_hundred_inferlets_at_once_get_their_own_answers(with_client):
    async def one(client, number):
        inferlet = await client.launch(ECHO)
        await inferlet.send(str(number))
        await inferlet.send("bye")
        return await inferlet.receive()

    async def test(server, client):
        assert await asyncio.gather(*(one(client, n) for n in range(100))) == [str(n) for n in range(100)]

    with_client(test)


def test_when_the_server_goes_every_wait_ends_with_an_error_that_says_so(with_server):
    async def test(server):
        async with Client(server.url) as client:
            inferlet = await client.launch(ECHO)
            detached_wait = asyncio.create_task(inferlet.receive())
            server.state.stopping.set()
            with pytest.raises(ProtocolError, match="the server shuts down"):
                await server.controller.application.shut_down("the server shuts down")
                while True:
                    await client.ping()
            with pytest.raises(TerminatedError, match="the server shuts down"):
                await detached_wait

    with_server(test)


def test_when_the_connection_breaks_every_wait_ends_with_an_error(with_client):
    async def test(server, client):
        inferlet = await client.launch(ECHO)
        waiting = [asyncio.create_task(inferlet.receive()), asyncio.create_task(inferlet.result())]
        await client.ping()
        client._socket.transport.abort()
        for task in waiting:
            with pytest.raises(ProtocolError, match="has closed the connection"):
                await task
        with pytest.raises(ProtocolError, match="has closed the connection"):
            await client.ping()

    with_client(test)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://127.0.0.1:1", ProtocolError),
        ("ws://127.0.0.1:1", ProtocolError),
        ("127.0.0.1:1", ConfigError),
        ("ftp://127.0.0.1", ConfigError),
        ("", ConfigError),
    ],
)
def test_an_address_where_no_server_answers_is_a_clear_error(url, kind):
    async def test():
        async with Client(url):
            pass

    with pytest.raises(kind, match=url or "''"):
        asyncio.run(test())


def test_a_server_that_is_something_else_is_a_clear_error():
    async def test():
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            with pytest.raises(ProtocolError, match="no pie-core server answers"):
                async with Client(f"http://127.0.0.1:{port}"):
                    pass

    asyncio.run(test())


def test_the_sync_client_does_the_same_without_an_event_loop(with_server):
    def use(url):
        with SyncClient(url) as client:
            inferlet = client.launch(ECHO)
            inferlet.send("one")
            assert inferlet.receive() == "one"
            inferlet.send("blob")
            inferlet.send_blob(b"b")
            assert inferlet.receive_blob() == b"b"
            (facts,) = client.list()
            assert facts["id"] == inferlet.id
            inferlet.send("two")
            inferlet.send("bye")
            assert list(inferlet) == [Message("two"), Ended("finished", value="done")]
            assert inferlet.result() == "done"
            assert inferlet.outcome.status == "finished"
            with pytest.raises(ProgramError, match="did you mean"):
                client.launch("text_competition")
            stopped = client.launch(FOREVER)
            client.stop(stopped.id)
            with pytest.raises(TerminatedError):
                stopped.result()
        with pytest.raises(ProtocolError, match="closed"):
            client.ping()

    async def test(server):
        await asyncio.to_thread(use, server.url)

    with_server(test)


def test_the_sync_client_says_when_nobody_answers():
    with pytest.raises(ProtocolError, match="no pie-core server answers"), SyncClient("http://127.0.0.1:1"):
        pass


def test_every_code_is_the_class_it_was_and_a_new_one_keeps_its_code():
    for kind in (ArgumentError, HandleError, ProgramError, TraitError, PieError):
        assert type(error_from(kind.code, "what")) is kind
    unknown = error_from("from-the-future", "what")
    assert (type(unknown), unknown.code) == (PieError, "from-the-future")
    assert PieError.code == "error"


def test_the_client_needs_neither_torch_nor_the_server():
    heavy = "('torch', 'transformers', 'numpy', 'starlette', 'uvicorn')"
    check = f"import sys, pie_core.client; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
