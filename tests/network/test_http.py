"""Requests that are allowed: what goes out, what comes back, within which bounds."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import ssl
import subprocess
from ipaddress import ip_address

import pytest

from pie_core.application.application import Application
from pie_core.application.capabilities import Capabilities, grant
from pie_core.application.limits import Limits
from pie_core.application.manifest import Manifest
from pie_core.application.native import NativeTier
from pie_core.application.network.addresses import refusal
from pie_core.application.network.client import HttpClient
from pie_core.application.network.reach import HostPattern
from pie_core.application.network.url import parse_url
from pie_core.application.program import Program
from pie_core.application.services import Services
from pie_core.errors import CapabilityError, ConfigError
from pie_core.testing import fake_model
from tests.network.conftest import ask, get, redirect, reply, web_server


def exchange(answer, hosts=None, limits=None, path="x", **answers):
    """(what the program got, the web server) for one GET of /x on 127.0.0.1."""

    async def play():
        async with web_server(**{path: answer}, **answers) as web:
            allowed = hosts or [f"127.0.0.1:{web.port}"]
            return await get(f"http://127.0.0.1:{web.port}/{path}", allowed, limits=limits), web

    return asyncio.run(play())


def test_a_response_has_status_headers_and_body():
    body = (
        "response = await http_get(get_arg()[0], {'X-Key': 'a b'})\n"
        "facts = [response.status, response.ok, response.url, response.headers, response.text(), response.json()]\n"
        "return json.dumps(facts)"
    )

    async def play():
        answer = reply(
            201, b'{"a": "\xc3\xa4"}', "Content-Type: application/json", "Set-Cookie: a=1", "X-A: 1", "X-A: 2"
        )
        async with web_server(x=answer) as web:
            url = f"http://127.0.0.1:{web.port}/x?q=%20&r"
            return await ask(body, [f"127.0.0.1:{web.port}"], [url]), url, web

    outcome, url, web = asyncio.run(play())
    status, ok, told, headers, text, parsed = json.loads(outcome.ended.value)
    assert (status, ok, told, text, parsed) == (201, True, url, '{"a": "ä"}', {"a": "ä"})
    assert headers["x-a"] == "1, 2" and headers["content-type"] == "application/json"
    (request,) = web.requests
    assert (request.method, request.path) == ("GET", "/x?q=%20&r")
    assert request.headers["host"] == f"127.0.0.1:{web.port}" and request.headers["x-key"] == "a b"
    assert request.headers["accept-encoding"] == "identity" and "cookie" not in request.headers
    assert request.headers["user-agent"].startswith("pie-core/")


def test_a_status_that_tells_of_an_error_is_a_response():
    assert exchange(reply(404, b"no"))[0] == "404: no"
    assert exchange(reply(500, b""))[0] == "500: "


def test_an_allowed_host_works_through_redirects(wire):
    wire.resolve(one_test=["127.0.0.1"], two_test=["127.0.0.1"])

    async def play():
        async with web_server(end=reply(200, b"arrived")) as web:
            port = web.port
            web.answers |= {
                "/a": redirect("/b"),
                "/b": redirect("c?x=1#frag", 301),
                "/c": redirect(f"http://two.test:{port}/d", 307),
                "/d": redirect(f"//one.test:{port}/e", 308),
                "/e": redirect("./end"),
            }
            return await get(f"http://one.test:{port}/a", [f"one.test:{port}", f"two.test:{port}"]), web

    told, web = asyncio.run(play())
    assert told == "200: arrived"
    assert [request.path for request in web.requests] == ["/a", "/b", "/c?x=1", "/d", "/e", "/end"]
    assert [request.headers["host"] for request in web.requests] == [
        f"{name}.test:{web.port}" for name in ("one", "one", "one", "two", "one", "one")
    ]
    assert wire.asked == ["one.test"] * 3 + ["two.test"] + ["one.test"] * 2
    assert wire.connected == [("127.0.0.1", web.port)] * 6


def test_a_sixth_redirect_is_one_too_many():
    told, web = exchange(redirect("/x"))
    assert told.startswith("NetworkError: ") and "more than 5 redirects" in told and len(web.requests) == 6


def test_a_redirect_to_another_host_takes_no_secrets_along(wire):
    wire.resolve(one_test=["127.0.0.1"], two_test=["127.0.0.1"])
    body = (
        "await http_get(get_arg()[0], {'Authorization': 's', 'Cookie': 's', 'X-Api-Key': 's', 'Accept': 'text/html'})"
    )

    async def play():
        async with web_server(end=reply()) as web:
            web.answers |= {"/a": redirect("/b"), "/b": redirect(f"http://two.test:{web.port}/end")}
            hosts = [f"one.test:{web.port}", f"two.test:{web.port}"]
            outcome = await ask(body, hosts, [f"http://one.test:{web.port}/a"])
            assert outcome.ended.status == "finished", outcome.ended.error
            return [request.headers for request in web.requests]

    first, second, third = asyncio.run(play())
    for headers in (first, second):
        assert headers["authorization"] == headers["cookie"] == headers["x-api-key"] == "s"
    assert not {"authorization", "cookie", "x-api-key"} & set(third) and third["accept"] == "text/html"


@pytest.mark.parametrize(
    ("status", "method", "sent"),
    [(301, "GET", b""), (302, "GET", b""), (303, "GET", b""), (307, "POST", b"\x00\xff"), (308, "POST", b"\x00\xff")],
)
def test_a_post_after_a_redirect(status, method, sent):
    async def play():
        async with web_server(a=redirect("/b", status), b=reply()) as web:
            body = "await http_post(get_arg()[0], b'\\x00\\xff', [('Content-Type', 'x/y')])"
            outcome = await ask(body, [f"127.0.0.1:{web.port}"], [f"http://127.0.0.1:{web.port}/a"])
            assert outcome.ended.status == "finished", outcome.ended.error
            return web.requests

    first, second = asyncio.run(play())
    assert (first.method, first.body, first.headers["content-type"]) == ("POST", b"\x00\xff", "x/y")
    assert (second.method, second.body, "content-type" in second.headers) == (method, sent, bool(sent))


def test_nothing_comes_from_the_environment(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert exchange(reply(200, b"direct"))[0] == "200: direct"


# bounds

SMALL = Limits(http_bytes=1000, http_s=0.5)


async def drip(writer):
    """A byte now and then, without end."""
    writer.write(b"HTTP/1.1 200 X\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def flood(writer):
    """As much as the client takes."""
    writer.write(b"HTTP/1.1 200 X\r\n\r\n")
    while True:
        writer.write(bytes(1 << 16))
        await writer.drain()


async def silence(writer):
    """Nothing."""


BOMB = gzip.compress(bytes(10_000_000), 9)[:900]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (reply(200, bytes(1001)), "ResourceError: .*more than 1000 bytes"),
        (b"HTTP/1.1 200 X\r\nContent-Length: 99999999999999999999999999\r\n\r\n", "(Resource|Network)Error"),
        (flood, "ResourceError: .*more than 1000 bytes"),
        (drip, r"NetworkError: .*within 0\.5 s"),
        (silence, r"NetworkError: .*within 0\.5 s"),
        (b"", r"NetworkError: .*within 0\.5 s"),
        (b"HTTP/1.1 200 X\r\nA: " + b"x" * 200_000 + b"\r\n\r\n", "NetworkError: .*the exchange failed"),
        (b"HTTP/1.1 100 X\r\n\r\n" * 20_000, "NetworkError"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "NetworkError: .*the exchange failed"),
        (b"HTTP/1.1 200 X\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", "NetworkError"),
        (reply(200, BOMB, "Content-Encoding: gzip"), "^200: "),
    ],
    ids=range(11),
)
def test_an_answer_is_bounded_in_size_and_time(answer, told):
    assert re.search(told, exchange(answer, limits=SMALL)[0])


def test_what_fits_exactly_is_taken():
    assert exchange(reply(200, b"x" * 1000), limits=SMALL)[0] == "200: " + "x" * 1000


def test_only_so_many_requests_are_under_way_at_once():
    body = """
url = get_arg()[0]
first = [http_get(url) for _ in range(3)]
try:
    http_get(url)
except ResourceError as error:
    print(error)
await asyncio.gather(*first)
return (await http_get(url)).text()
"""

    async def play():
        async with web_server(x=reply(200, b"ok")) as web:
            hosts = [f"127.0.0.1:{web.port}"]
            return await ask(body.strip(), hosts, [f"http://127.0.0.1:{web.port}/x"], limits=Limits(http_requests=3))

    outcome = asyncio.run(play())
    assert "3 requests are under way" in outcome.output and outcome.ended.value == "ok"


def test_the_requests_of_an_inferlet_end_with_it():
    source = """# /// inferlet
# hosts = ["127.0.0.1:{port}"]
# ///
from inferlet import *
async def main():
    pending = [http_get("http://127.0.0.1:{port}/x") for _ in range(3)]
    send("sent")
    await receive()
"""

    async def play():
        model = fake_model()
        async with web_server(x=silence) as web:
            allowed = Capabilities.of([f"127.0.0.1:{web.port}"])
            async with Application({"fake": model}, NativeTier(), capabilities=allowed) as application:
                inferlet = await application.launch(Program("test", source.format(port=web.port), "test.py"))
                while len(web.requests) < 3:
                    await asyncio.sleep(0.001)
                application.stop(inferlet, "enough")
                async with asyncio.timeout(5):
                    while web.closed < 3:
                        await asyncio.sleep(0.001)
        model.close()

    asyncio.run(play())


# who may

URL = "http://a.example.org/"


@pytest.mark.parametrize(
    ("server", "launch", "manifest", "told"),
    [
        ([], None, ["*"], "the server was not started with --allow-host"),
        (["b.example.org"], None, ["*"], "the server was not started with --allow-host"),
        (["*"], None, [], "its manifest does not name it"),
        (["*"], None, ["b.example.org"], "its manifest does not name it"),
        (["*"], [], ["*"], "its launch does not allow it"),
        (["*"], ["*"], ["*"], None),
        (["*.example.org"], ["a.example.org"], ["*.example.org"], None),
    ],
)
def test_a_host_must_be_allowed_by_all(wire, server, launch, manifest, told):
    narrowed = None if launch is None else Capabilities.of(launch)
    given = grant(Capabilities.of(server), narrowed).for_program(Manifest(hosts=tuple(manifest)))
    if told is None:
        given.reach.check(parse_url(URL))
        return
    with pytest.raises(CapabilityError, match=told):
        given.reach.check(parse_url(URL))


def test_a_program_without_a_manifest_reaches_nothing(wire):
    assert "its manifest does not name it" in asyncio.run(get(URL, ["*"], manifest=[]))
    assert wire.asked == []


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*", ["http://a.b/", "https://a.b/", "http://1.2.3.4/"], ["http://a.b:8080/", "https://a.b:80/"]),
        ("*:8080", ["http://a.b:8080/", "https://a.b:8080/"], ["http://a.b/"]),
        ("a.b", ["http://a.b/", "https://A.B/", "https://a.b:443/"], ["http://x.a.b/", "http://b/", "http://aa.b/"]),
        ("A.b:81", ["http://a.b:81/"], ["http://a.b/"]),
        ("*.b.c", ["http://a.b.c/", "http://x.y.b.c/"], ["http://b.c/", "http://ab.c/", "http://xb.c/"]),
        ("127.0.0.1:9", ["http://127.0.0.1:9/"], ["http://127.0.0.1/", "http://127.0.0.2:9/"]),
        ("[::1]", ["http://[::1]/", "http://[0:0::1]/"], ["http://[::2]/"]),
    ],
)
def test_a_pattern_is_for_these_urls(pattern, yes, no):
    entry = HostPattern.parse(pattern)
    assert [entry.matches(parse_url(url)) for url in yes] == [True] * len(yes)
    assert [entry.matches(parse_url(url)) for url in no] == [False] * len(no)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "a b",
        "http://a.b",
        "a.b/",
        "a.b:",
        "a.b:0",
        "*b",
        "a.*",
        "*.",
        "*.1",
        "*.1.2.3.4",
        "::1",
        "127.1",
        "a.b.",
        "**",
        "*:x",
    ],
)
def test_a_malformed_pattern_is_an_error(pattern):
    with pytest.raises(ConfigError, match="a host to allow: "):
        Capabilities.of([pattern])


@pytest.mark.parametrize(
    ("allowed", "address", "reached"),
    [
        ("app.test:{port}", "127.0.0.1", True),
        ("app.test:{port}", "10.0.0.1", True),
        ("app.test:{port}", "100.64.0.1", True),
        ("app.test:{port}", "fd00::1", True),
        ("app.test:{port}", "169.254.169.254", False),
        ("app.test:{port}", "0.0.0.0", False),
        ("app.test:{port}", "224.0.0.1", False),
        ("app.test:{port}", "::ffff:127.0.0.1", False),
        ("*.test:{port}", "127.0.0.1", False),
        ("*:{port}", "127.0.0.1", False),
    ],
)
def test_what_a_name_unlocks(allowed, address, reached):
    target, found = parse_url("http://app.test:9/"), ip_address(address)
    given = grant(Capabilities.of([allowed.format(port=9)]), None).reach
    if reached:
        given.check_address(target, found, refusal(found))
        return
    with pytest.raises(CapabilityError, match="the host leads to"):
        given.check_address(target, found, refusal(found))


def test_the_next_address_is_tried_if_one_does_not_answer(wire):
    async def play():
        async with web_server(x=reply(200, b"second")) as web:
            wire.resolve(app_test=["::1", "127.0.0.1"])
            return await get(f"http://app.test:{web.port}/x", [f"app.test:{web.port}"])

    told = asyncio.run(play())
    assert told == "200: second" and [address[0] for address in wire.connected] == ["::1", "127.0.0.1"]


# TLS


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """(a context that trusts it, a server's context) for a certificate of the name app.test."""
    directory = tmp_path_factory.mktemp("tls")
    key, certificate = directory / "key.pem", directory / "cert.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
    ]
    command += [
        "2",
        "-subj",
        "/CN=app.test",
        "-addext",
        "subjectAltName=DNS:app.test",
        "-keyout",
        key,
        "-out",
        certificate,
    ]
    subprocess.run(command, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return ssl.create_default_context(cafile=certificate), server


@pytest.mark.parametrize(("name", "told"), [("app.test", "200: secret"), ("other.test", "NetworkError: no connection")])
def test_the_certificate_and_sni_are_of_the_name_and_not_of_the_address(wire, authority, name, told):
    trust, server = authority
    names = []
    server.sni_callback = lambda socket, name, context: names.append(name)
    wire.resolve(app_test=["127.0.0.1"], other_test=["127.0.0.1"])

    async def play():
        async with web_server(tls=server, x=reply(200, b"secret")) as web:
            hosts = [f"{name}:{web.port}"]
            services = Services(http=HttpClient(tls=trust))
            return await get(f"https://{name}:{web.port}/x", hosts, services=services), web

    got, web = asyncio.run(play())
    assert got.startswith(told) and names == [name]
    assert [request.headers["host"] for request in web.requests] == [f"app.test:{web.port}"] * (name == "app.test")


def test_a_certificate_that_nobody_vouches_for_is_refused(wire, authority):
    wire.resolve(app_test=["127.0.0.1"])

    async def play():
        async with web_server(tls=authority[1], x=reply(200, b"secret")) as web:
            return await get(f"https://app.test:{web.port}/x", [f"app.test:{web.port}"])

    assert "certificate" in asyncio.run(play()).lower()
