"""One connection to a server, without the client library."""

import asyncio

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from pie_core.application.limits import Limits


def test_the_server_answers_in_the_format_of_the_first_frame(with_server):
    async def test(server):
        async with server.raw() as raw:
            await raw.send(type="ping", request=1)
            assert isinstance(await raw.socket.recv(), str)
            await raw.send_packed(type="ping", request=2)
            assert msgspec.json.decode(await raw.socket.recv()) == {"type": "done", "request": 2}
        async with server.raw() as raw:
            await raw.send_packed(type="ping", request=1)
            assert msgspec.msgpack.decode(await raw.socket.recv()) == {"type": "done", "request": 1}

    with_server(test)


def test_hello_tells_version_models_and_the_largest_frame(with_server):
    async def test(server):
        async with server.raw() as raw:
            welcome = await raw.ask(type="hello", request=5, protocol=1)
            assert (welcome["type"], welcome["request"], welcome["models"]) == ("welcome", 5, ["fake"])
            assert welcome["frame_bytes"] == server.state.frame_bytes

    with_server(test)


def test_a_client_of_another_protocol_is_told_to_match_versions(with_server):
    async def test(server):
        async with server.raw() as raw:
            error = await raw.ask(type="hello", request=5, protocol=99)
            assert (error["code"], error["request"]) == ("protocol", 5)
            assert "speaks protocol 1, the client 99" in error["message"]

    with_server(test)


@pytest.mark.parametrize("frame", ["no json", b"\xc1", '{"type": "nonsense", "request": 3}', "[]", b""])
def test_a_bad_frame_gets_an_error_and_the_connection_and_its_inferlets_live_on(with_server, frame):
    async def test(server):
        async with server.raw() as raw:
            inferlet = await raw.launch("echo")
            await raw.socket.send(frame)
            assert (await raw.receive())["code"] == "protocol"
            assert (await raw.ask(type="deliver", request=4, id=inferlet, text="still here"))["type"] == "done"
            assert (await raw.receive())["event"] == {"type": "message", "text": "still here"}

    with_server(test)


def test_a_frame_over_the_limit_closes_the_connection_with_1009_and_the_size(with_server):
    async def test(server):
        async with server.raw() as raw:
            await raw.socket.send("x" * (server.state.frame_bytes + 1))
            with pytest.raises(ConnectionClosed) as caught:
                await raw.receive()
            assert caught.value.rcvd.code == 1009
            assert str(server.state.frame_bytes) in caught.value.rcvd.reason

    with_server(test, Limits(message_bytes=1000, program_bytes=1000, component_bytes=1000))


def test_a_frame_far_over_the_limit_ends_only_its_own_connection(with_server):
    async def test(server):
        async with server.raw() as raw, server.raw() as other:
            with pytest.raises(ConnectionClosed):
                await raw.socket.send("x" * (20 * server.state.frame_bytes))
                await raw.receive()
            assert (await other.ask(type="ping", request=1))["type"] == "done"

    with_server(test, Limits(message_bytes=1000, program_bytes=1000, component_bytes=1000))


def test_a_message_within_the_frame_but_over_its_own_limit_is_refused(with_server):
    async def test(server):
        async with server.raw() as raw:
            inferlet = await raw.launch("echo")
            error = await raw.ask(type="deliver", request=2, id=inferlet, text="x" * 2001)
            assert (error["code"], error["request"]) == ("argument", 2)
            assert "2000" in error["message"]

    with_server(test, Limits(message_bytes=2000))


def test_many_inferlets_share_one_connection_and_each_gets_its_own(with_server):
    async def test(server):
        async with server.raw() as raw:
            ids = [await raw.launch("echo") for _ in range(20)]
            for number, inferlet in enumerate(ids):
                await raw.send(type="deliver", request=100 + number, id=inferlet, text=f"for {inferlet}")
            replies = [await raw.receive() for _ in range(40)]
            assert {r["request"] for r in replies if r["type"] == "done"} == set(range(100, 120))
            events = {r["id"]: r["event"]["text"] for r in replies if r["type"] == "event"}
            assert events == {inferlet: f"for {inferlet}" for inferlet in ids}

    with_server(test)


def test_a_program_that_fails_tells_its_client_why_with_its_own_traceback(with_server):
    async def test(server):
        async with server.raw() as raw:
            await raw.launch("fails", filename="my/program.py")
            assert (await raw.receive())["event"]["text"] == "so far so good"
            ended = (await raw.receive())["event"]
            assert (ended["type"], ended["status"], ended["code"]) == ("ended", "failed", "program")
            assert 'File "my/program.py", line 8, in main' in ended["error"]
            assert "session.py" not in ended["error"]

    with_server(test)


@pytest.mark.parametrize(
    ("source", "code", "says"),
    [
        ("def f(:", "program", "does not compile"),
        ("x = 1", "program", "defines no `main`"),
        ("def main(): pass", "program", "async def main"),
        ("async def main(): return " + "-" * 50_000 + "1", "program", "does not compile"),
        ("import inferlet\nasync def main(): inferlet.embed_txt\n# \0", "program", "does not compile"),
        ('# /// inferlet\n# traits = ["levitate"]\n# ///\nasync def main(): pass', "trait", "levitate"),
        ("#" * 5001 + "\nasync def main(): pass", "argument", "5000"),
    ],
)  # fmt: skip
def test_a_program_that_cannot_run_is_refused_at_launch(with_server, source, code, says):
    async def test(server):
        async with server.raw() as raw:
            error = await raw.ask(type="launch", request=9, name="bad", source=source)
            assert (error["type"], error["code"], error["request"]) == ("error", code, 9)
            assert says in error["message"]
            assert (await raw.ask(type="list", request=10))["inferlets"] == []

    with_server(test, Limits(program_bytes=5000 if "#" * 5001 in source else 1 << 20))


def test_an_installed_program_runs_by_name_and_an_unknown_name_gets_the_near_ones(with_server):
    async def test(server):
        async with server.raw() as raw:
            launched = await raw.ask(type="launch", request=1, name="text_completion", arguments=["--max-tokens", "3"])
            while (await raw.receive())["event"]["type"] != "ended":
                pass
            assert launched["type"] == "launched"
            error = await raw.ask(type="launch", request=2, name="text_competition")
            assert "did you mean 'text_completion'" in error["message"]

    with_server(test, answer="Paris")


def test_a_name_is_never_a_path_on_the_server(with_server, tmp_path):
    (tmp_path / "secret.py").write_text("async def main(): return 'secret'")

    async def test(server):
        async with server.raw() as raw:
            error = await raw.ask(type="launch", request=1, name=str(tmp_path / "secret.py"))
            assert error["code"] == "program"

    with_server(test)


@pytest.mark.parametrize("request_type", ["deliver", "deliver_blob", "stop", "attach"])
def test_an_unknown_inferlet_is_an_error_that_names_it(with_server, request_type):
    more = {"deliver": {"text": "x"}, "deliver_blob": {"data": "eA=="}}.get(request_type, {})

    async def test(server):
        async with server.raw() as raw:
            error = await raw.ask(type=request_type, request=3, id="nobody", **more)
            assert (error["code"], error["request"]) == ("argument", 3)
            assert "'nobody'" in error["message"]

    with_server(test)


def test_a_client_that_vanishes_in_mid_stream_leaves_nothing_behind(with_server):
    async def test(server):
        async with server.raw() as raw:
            await raw.launch("forever")
            while (await raw.receive())["event"]["text"] != "step 3":
                assert server.used["kvpage"] == 8
            raw.socket.transport.abort()
        await server.until(lambda: not server.controller.application.inferlets)
        await server.until(lambda: not any(server.used.values()))
        assert not server.state.readers
        await server.until(server.state.idle.is_set)

    with_server(test)


def test_a_client_that_vanishes_takes_only_its_own_inferlets_along(with_server):
    async def test(server):
        async with server.raw() as stays, server.raw() as goes:
            kept, lost = await stays.launch("echo"), await goes.launch("echo")
            await goes.socket.close()
            await server.until(lambda: lost not in server.controller.application.inferlets)
            assert (await stays.ask(type="deliver", request=2, id=kept, text="hello"))["type"] == "done"

    with_server(test)


def test_a_detached_inferlet_outlives_its_client_and_another_one_reads_what_is_left(with_server):
    async def test(server):
        async with server.raw() as raw:
            inferlet = await raw.launch("echo", detach=True)
        await server.until(server.state.idle.is_set)
        async with server.raw() as raw:
            assert (await raw.ask(type="deliver", request=1, id=inferlet, text="unread"))["type"] == "done"
        async with server.raw() as raw:
            assert (await raw.ask(type="attach", request=2, id=inferlet))["type"] == "done"
            assert (await raw.receive())["event"]["text"] == "unread"
            await raw.send(type="deliver", request=3, id=inferlet, text="bye")
            rest = [await raw.receive(), await raw.receive()]
            assert {"type": "ended", "status": "finished", "value": "done", "code": None, "error": None} in [
                reply.get("event") for reply in rest
            ]

    with_server(test)


def test_events_have_one_reader(with_server):
    async def test(server):
        async with server.raw() as raw, server.raw() as second:
            inferlet = await raw.launch("echo")
            error = await second.ask(type="attach", request=2, id=inferlet)
            assert error["code"] == "argument"
            assert "only one can" in error["message"]

    with_server(test)


def test_any_connection_may_list_and_stop(with_server):
    async def test(server):
        async with server.raw() as raw, server.raw() as other:
            inferlet = await raw.launch("forever")
            (facts,) = (await other.ask(type="list", request=1))["inferlets"]
            assert (facts["id"], facts["program"], facts["status"]) == (inferlet, "forever", "running")
            assert (await other.ask(type="stop", request=2, id=inferlet, why="enough"))["type"] == "done"
            while (event := (await raw.receive())["event"])["type"] != "ended":
                pass
            assert (event["status"], event["error"]) == ("stopped", "enough")

    with_server(test)


def test_text_that_utf8_does_not_have_is_replaced_and_hurts_nobody(with_server):
    async def test(server):
        async with server.raw() as raw:
            await raw.launch("odd_text")
            assert (await raw.receive())["event"]["text"] == "printed \ufffd"
            assert (await raw.receive())["event"]["value"] == "returned \ufffd and \U0001f600"

    with_server(test)


def test_a_client_that_does_not_read_makes_send_fail_and_not_memory_grow(with_server):
    async def test(server):
        async with server.raw(max_queue=1) as raw:
            await raw.launch("flood")
            (inferlet,) = server.controller.application.inferlets.values()
            await server.until(lambda: inferlet.outcome is not None)
            assert "10 messages wait and nobody reads them" in inferlet.outcome.error
            assert len(inferlet.events) == 11
            while (event := (await raw.receive()).get("event", {})).get("type") != "ended":
                pass
            assert event["status"] == "failed"

    with_server(test, Limits(outbox_messages=10))


def test_a_server_that_stops_tells_every_client_how_its_inferlets_ended(with_server):
    received = []

    async def test(server):
        async def read(raw):
            try:
                while True:
                    received.append((await raw.receive())["event"])
            except ConnectionClosed as closed:
                received.append((closed.rcvd.code, closed.rcvd.reason))

        async def stop():
            server.state.stopping.set()
            await server.controller.application.shut_down("the server shuts down")

        async with server.raw() as raw, server.raw() as idle:
            await raw.launch("echo")
            async with asyncio.TaskGroup() as group:
                group.create_task(read(raw))
                group.create_task(stop())
            with pytest.raises(ConnectionClosed):
                await idle.receive()

    with_server(test)
    assert received[0]["status"] == "stopped"
    assert received[0]["error"] == "the server shuts down"
    assert received[1] == (1001, "the server shuts down")


def test_nothing_is_launched_on_a_server_that_stops_and_what_runs_is_still_talked_to(with_server):
    async def test(server):
        async with server.raw() as raw:
            instance = await raw.launch("echo")
            server.state.closing.set()
            refused = await raw.ask(type="launch", request=2, name="late", source="async def main(): pass")
            assert (refused["code"], "shuts down" in refused["message"]) == ("resource", True)
            assert (await raw.ask(type="deliver", request=3, id=instance, text="still?"))["type"] == "done"
            assert (await raw.receive())["event"] == {"type": "message", "text": "still?"}

    with_server(test)
