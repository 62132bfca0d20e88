"""Server-side request forgery: every vector is refused before anything leaves the server."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pie_core.application.network.addresses import refusal
from pie_core.application.network.message import HttpRequest
from pie_core.application.network.url import parse_url
from pie_core.errors import ArgumentError, NetworkError
from tests.network.conftest import ask, get, redirect, web_server
from tests.network.vectors import ALLOWED, DNS, LITERALS, REFUSED


def test_there_are_many_vectors():
    assert len({url for url, _, _ in REFUSED}) == len(REFUSED) > 200


@pytest.mark.parametrize(("url", "error", "may_ask"), REFUSED, ids=[ascii(url)[1:60] for url, _, _ in REFUSED])
def test_a_vector_is_refused_before_a_packet_leaves(wire, url, error, may_ask):
    wire.answers = {name: [addresses] for name, addresses in DNS.items()}
    told = asyncio.run(get(url, ALLOWED))
    assert told.startswith(f"{error}: "), told
    assert wire.connected == wire.sent_to == []
    assert may_ask or wire.asked == []


LOCATIONS = [
    *[
        "http://169.254.169.254/latest/",
        "//169.254.169.254/",
        "http://10.0.0.1/",
        "http://[::1]:1/",
        "http://[fd00::1]/",
    ],
    *["http://2130706433/", "http://0x7f.1/", "http://127.1/", "http://localhost/", "http://metadata.google.internal/"],
    *[
        "http://a.example.org@127.0.0.1/",
        "http:\\\\127.0.0.1/",
        "http:x",
        "file:///etc/passwd",
        "gopher://127.0.0.1:1/_x",
    ],
    *["http://mixed.example.org/", "http://127.0.0.1:1/", "https://127.0.0.1:2375/", "ftp://127.0.0.1/", "http://"],
    *["http://[::ffff:127.0.0.1]/", "http://loopback.example.org:8080/", "http://127.0.0.1./", "http://[fe80::1%25x]/"],
    *["data:,x", "javascript:1", "http://a.example.org\x0b/", "http://\xe4.example.org/", "http://0/"],
]


@pytest.mark.parametrize("location", LOCATIONS, ids=ascii)
@pytest.mark.parametrize("hops", [1, 3])
def test_a_redirect_to_a_vector_is_refused_at_its_hop(wire, location, hops):
    wire.answers = {name: [addresses] for name, addresses in DNS.items()}

    async def play():
        chain = {f"hop{n}": redirect(f"/hop{n + 1}") for n in range(1, hops)}
        chain[f"hop{hops}"] = b"HTTP/1.1 302 X\r\nLocation: " + location.encode("latin-1") + b"\r\n\r\n"
        async with web_server(**chain) as web:
            told = await get(f"http://127.0.0.1:{web.port}/hop1", [*ALLOWED, f"127.0.0.1:{web.port}"])
            return told, web

    told, web = asyncio.run(play())
    assert told.startswith(("CapabilityError: ", "NetworkError: ")), told
    assert wire.connected == [("127.0.0.1", web.port)] * hops
    assert [request.path for request in web.requests] == [f"/hop{n}" for n in range(1, hops + 1)]


def test_a_redirect_to_a_host_that_is_not_allowed_is_refused_before_it_is_looked_up(wire):
    wire.resolve(elsewhere_test=["93.184.216.34"])

    async def play():
        async with web_server(x=redirect("http://elsewhere.test/")) as web:
            return await get(f"http://127.0.0.1:{web.port}/x", [f"127.0.0.1:{web.port}"]), web

    told, web = asyncio.run(play())
    assert told.startswith("CapabilityError: http://elsewhere.test may not be reached: the server was not started")
    assert wire.asked == [] and wire.connected == [("127.0.0.1", web.port)]


def test_from_https_a_redirect_does_not_lead_to_http():
    request = HttpRequest.make("GET", "https://a.example.org/", [])
    with pytest.raises(NetworkError, match="from https to http"):
        request.redirected(302, "http://a.example.org/")
    assert request.redirected(302, "https://b.example.org/").target.host == "b.example.org"


@pytest.mark.parametrize(
    "header",
    [
        *["Host: localhost", "host:x", "Content-Length: 0", "Transfer-Encoding: chunked", "Connection: close"],
        *[
            "Keep-Alive: 1",
            "Proxy-Authorization: x",
            "Proxy-Connection: x",
            "TE: trailers",
            "Trailer: x",
            "Upgrade: h2c",
        ],
        *[
            "Expect: 100-continue",
            "X-A: b\r\nX-C: d",
            "X-A: b\nHost: c",
            "X-A: \x00",
            "X-A: \x7f",
            "X-A: \xe4",
            "X A: b",
        ],
        *["X-A", ": b", "X-\r\nA: b", "X\u00e4: b", " X: b", "X-A : b", "X: " + "y" * 20_000],
    ],
    ids=ascii,
)
def test_a_header_that_is_not_the_programs_to_write_is_refused(wire, header):
    call = "from inferlet.host import host\nhost().call('http_get', None, None, ('http://a.example.org/', get_arg()))"
    outcome = asyncio.run(ask(call, ALLOWED, [header]))
    assert "ArgumentError: the header" in outcome.ended.error or "ArgumentError: 1 headers" in outcome.ended.error
    assert wire.asked == wire.connected == []


def test_too_many_headers_are_refused(wire):
    outcome = asyncio.run(ask("http_get('http://a.example.org/', {f'x-{n}': '' for n in range(65)})", ALLOWED))
    assert "65 headers" in outcome.ended.error and wire.asked == []


def test_a_resolver_that_changes_its_answer_is_asked_once_for_each_hop(wire):
    """DNS rebinding: the address that was checked is the one that is connected to."""

    async def play():
        async with web_server(start=b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nok", hop=redirect("/start")) as web:
            wire.answers["rebind.test"] = [["127.0.0.1"], ["169.254.169.254"]]
            first = await get(f"http://rebind.test:{web.port}/start", [f"rebind.test:{web.port}"])
            assert (first, wire.asked, wire.connected) == ("200: ok", ["rebind.test"], [("127.0.0.1", web.port)])
            wire.answers["rebind.test"] = [["127.0.0.1"], ["169.254.169.254"]]
            second = await get(f"http://rebind.test:{web.port}/hop", [f"rebind.test:{web.port}"])
            assert second.startswith("CapabilityError: ") and "link-local" in second
            assert wire.connected == [("127.0.0.1", web.port)] * 2

    asyncio.run(play())


PUBLIC = [
    "93.184.216.34",
    "8.8.8.8",
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.0.1",
    "172.32.0.1",
    "198.20.0.1",
]
PUBLIC += [
    "2606:4700::1111",
    "2001:4860:4860::8888",
    "2a00:1450:4001::1",
    "2003::1",
    "192.167.255.255",
    "223.255.255.1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_not_refused(address):
    assert refusal(ip_address(address)) is None


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_nothing_that_python_calls_special_is_let_through(address):
    if not address.is_global or address.is_multicast or address.is_private or address.is_reserved:
        assert refusal(address) is not None


@given(st.integers(0, 2**32 - 1), st.sampled_from(["::{}", "::ffff:{}", "64:ff9b::{}", "64:ff9b:1::{}", "::ffff:0:{}"]))
def test_no_ipv4_address_gets_through_inside_an_ipv6_one(number, form):
    assert refusal(ip_address(form.format(ip_address(number)))) is not None


@given(st.text(alphabet="htps:/@[]\\.#?%0127axl-_\r\n\t \u3002", max_size=24))
def test_what_is_accepted_is_written_the_way_that_other_parsers_read_it(tail):
    try:
        target = parse_url(f"http://{tail}")
    except ArgumentError:
        return
    for parsed in (urlsplit(f"http://{tail}"), urlsplit(target.url)):
        assert (parsed.hostname, parsed.port or 80, parsed.username) == (target.host, target.port, None)
    other = httpx2.URL(target.url)
    assert (other.host, other.port or 80, other.userinfo) == (target.host, target.port, b"")


def test_the_literals_of_the_table_are_all_refused_by_the_list_alone():
    assert all(refusal(ip_address(text.strip("[]"))) for text in LITERALS)
