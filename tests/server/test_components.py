"""Components sent to a server: uploaded once, known by their digest afterwards."""

import asyncio
import base64

import pytest

from pie_core.application.component import digest_of
from pie_core.application.limits import Limits
from pie_core.application.program import Program
from pie_core.client import Client, SyncClient
from pie_core.errors import ArgumentError, ProgramError, ProtocolError
from pie_core.server.state import Uploads
from tests.wasm.components import returns


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "hi.wasm"
    path.write_bytes(returns("hi"))
    return path


@pytest.fixture
def frames(monkeypatch):
    """The sizes of the frames that clients send."""
    sizes = []
    check = Client._check_size
    monkeypatch.setattr(Client, "_check_size", lambda self, frame: (sizes.append(len(frame)), check(self, frame))[1])
    return sizes


def test_a_client_sends_a_component_once(with_server, path, frames):
    async def test(server):
        for _ in range(2):
            async with Client(server.url) as client:
                for what in (path, str(path)):
                    assert await (await client.launch(what)).result() == "hi"
        assert sum(size > path.stat().st_size for size in frames) == 1

    with_server(test)


def test_the_client_without_asyncio_sends_components_too(with_server, path):
    async def test(server):
        def use():
            with SyncClient(server.url) as client:
                return client.launch(path).result()

        assert await asyncio.to_thread(use) == "hi"

    with_server(test)


def test_what_is_not_known_is_wanted_and_may_come_as_base64(with_server, path):
    async def test(server):
        wasm = path.read_bytes()
        launch = {"type": "launch", "name": "hi"}
        async with server.raw() as raw:
            known = {**launch, "digest": digest_of(wasm)}
            assert await raw.ask(**known, request=1) == {"type": "wanted", "request": 1, "digest": digest_of(wasm)}
            sent = await raw.ask(**launch, request=2, component=base64.b64encode(wasm).decode())
            assert sent["type"] == "launched"
            assert (await raw.receive())["event"]["value"] == "hi"
            assert (await raw.ask(**known, request=3))["type"] == "launched"
            assert (await raw.receive())["event"]["value"] == "hi"
            both = await raw.ask(**known, request=4, source="")
            assert (both["code"], both["request"]) == ("protocol", 4) and "source and digest" in both["message"]

    with_server(test)


def test_a_refused_component_is_not_kept(with_server):
    async def test(server):
        async with Client(server.url) as client:
            for _ in range(2):
                with pytest.raises(ProgramError, match="the program is text"):
                    await client.launch(Program("no", "", "no.wasm", b"async def main(): pass"))
        assert server.state.uploaded.get("local", digest_of(b"async def main(): pass")) is None

    with_server(test)


def test_a_server_that_does_not_isolate_refuses_before_the_component_is_sent(with_server, path, frames):
    async def test(server):
        async with Client(server.url) as client:
            with pytest.raises(ProgramError, match=r"hi.wasm is a WebAssembly component.*without --native"):
                await client.launch(path)
        assert max(frames) < path.stat().st_size
        async with server.raw() as raw:
            refused = await raw.ask(type="launch", request=1, name="hi", component="")
            assert refused["code"] == "program"

    with_server(test, tier="native")


def test_frames_are_as_large_as_components_may_be(with_server):
    limits = Limits(message_bytes=1000, program_bytes=1000, component_bytes=400_000)

    async def test(server):
        async with Client(server.url) as client:
            large = returns("x" * 60_000)
            padded = large + b"\0\x80\x80\x14\x01x" + b"." * (0x50000 - 2)  # a custom section
            with pytest.raises(ArgumentError, match="over the limit"):  # the message of the program, not the frame
                await (await client.launch(Program("large", "", "large.wasm", padded))).result()
            with pytest.raises(ProtocolError, match="send less"):
                await client.launch(Program("huge", "", "huge.wasm", large + bytes(600_000)))

    with_server(test, limits)


def test_of_many_uploads_those_unused_for_longest_go():
    uploads = Uploads(10)
    for digest in ("a", "b"):
        uploads.add("local", digest, bytes(4))
    assert uploads.get("local", "a") == bytes(4)
    uploads.add("local", "c", bytes(4))
    assert [uploads.get("local", digest) is not None for digest in "abc"] == [True, False, True]
    uploads.add("local", "d", bytes(11))
    assert [uploads.get("local", digest) is not None for digest in "acd"] == [False, False, False]
